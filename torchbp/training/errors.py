"""What a user can set right: the message names the value and the remedy, and the command prints no traceback."""

from torchbp.printing import printable


class UserError(ValueError):
    """Data or a file that cannot be used. `status` is the command's exit status; where several processes run, the
    first one alone prints an error that all of them have."""

    status = 1
    of_this_process = False

    def __init__(self, message):
        super().__init__(printable(message))  # it names columns, values and files


class SettingError(UserError):
    """An argument or a configuration value that cannot be used."""

    status = 2
