"""A dictionary of what was made, without that which was used longest ago."""

LARGEST = 32  # programs, graphs or functions that are remembered, each for a shape of the rows


def cached(made, key, make):
    """made[key], made where it is missing. Of more than LARGEST, the one that was used longest ago is dropped."""
    if key in made:
        value = made.pop(key)
    else:
        value = make()
        if len(made) >= LARGEST:
            del made[next(iter(made))]
    made[key] = value
    return value
