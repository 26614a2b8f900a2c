"""What a user can set right: the message names the value and the remedy, and the command prints no traceback."""


class UserError(ValueError):
    """Data or a file that cannot be used. `status` is the command's exit status."""

    status = 1


class SettingError(UserError):
    """An argument or a configuration value that cannot be used."""

    status = 2
