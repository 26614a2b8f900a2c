"""Errors that a user can correct: the message names the value and the remedy, and the command prints no traceback."""

from torchbp.printing import printable


class UserError(ValueError):
    """Data or a file that cannot be used.

    status: the exit status of the command. of_this_process: with several processes, whether each of them prints the
    error; otherwise all have the same one, and only the first prints it.
    """

    status = 1
    of_this_process = False

    def __init__(self, message):
        super().__init__(printable(message))  # a message may quote columns, values and files


class SettingError(UserError):
    """An argument or a configuration value that cannot be used."""

    status = 2
