"""Published packages whose differentiable functions are audited: {name on PyPI: a generator of `Subject`s}."""
