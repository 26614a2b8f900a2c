"""What a user can set right: the message names the value and the remedy, and the command prints no traceback."""


class UserError(ValueError):
    """Data or a file that cannot be used. `status` is the command's exit status; where several processes run, the
    first one alone prints an error that all of them have."""

    status = 1
    of_this_process = False


class SettingError(UserError):
    """An argument or a configuration value that cannot be used."""

    status = 2
