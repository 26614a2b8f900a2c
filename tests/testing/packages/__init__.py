"""Published packages whose differentiable functions are audited: {name on PyPI: a generator of `Subject`s}."""

from tests.testing.packages import activations, linear_algebra, losses, networks, probability, signals, spikes

PACKAGES = {
    name.replace("_", "-"): make
    for module in (activations, linear_algebra, losses, networks, probability, signals, spikes)
    for name, make in vars(module).items()
    if getattr(make, "__module__", None) == module.__name__ and not name.startswith("_")
}
