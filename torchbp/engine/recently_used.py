"""A dictionary of what was made, without that which was used longest ago."""

LARGEST = 32  # programs, graphs or functions that are remembered, each for a shape of the rows


def cached(made, key, make, largest=None):
    """made[key], made where it is missing. Of more than `largest`, or LARGEST, that which was used longest ago goes."""
    if key in made:
        value = made.pop(key)
    else:
        value = make()
        if len(made) >= (largest or LARGEST):
            del made[next(iter(made))]
    made[key] = value
    return value


def put(made, key, value):
    """made[key] = value, and the same bound."""
    made.pop(key, None)
    return cached(made, key, lambda: value)
