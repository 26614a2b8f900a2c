"""Checks of arguments that several modules share."""


def is_positive_int(value):
    """Whether it is an integer above 0; True is not."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
