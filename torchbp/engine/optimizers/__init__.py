"""The optimizers: how a parameter descends, their options, and their step as straight-line code."""
