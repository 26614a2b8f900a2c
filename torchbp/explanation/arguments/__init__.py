"""The arguments of `explain`. What cannot be explained is refused with its name, its value and the remedy."""
