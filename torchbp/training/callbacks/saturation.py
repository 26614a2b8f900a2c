"""Hidden units that hardly learn, because the slope f′ of their activation is nearly 0. What that means for each
activation is read from its rule in `torchbp.ops`: where f is flat, how steep it gets, and what to try instead."""

from torchbp.ops import registry

NEARLY_FLAT = 0.04  # f′ over the largest slope of the activation
TOO_MANY = 0.5  # the share of such units that is worth a line


def flat_share(rule, slope):
    """The share of a hidden layer that hardly learns, `(…)`, of f′ for some rows, `(…, N, units)`.

    Where f is flat on both sides, as σ, it is a share of outputs. Where it is flat on the left only, as relu, it is a
    share of units: those that are flat for all rows, since an active unit has an output of 0 for some rows, too.
    """
    flat = slope < NEARLY_FLAT * rule.steepest
    if rule.flat == "left":
        flat = flat.all(-2, keepdim=True)
    return flat.mean((-2, -1), dtype=slope.dtype)


def plot_words(activation):
    """Title and explanation of the plot of that share, of the activation with this name."""
    rule = registry.activation(activation)
    bound = f"{NEARLY_FLAT * rule.steepest:g}"
    if rule.flat == "left":
        return "Dead units", (
            f"The share of a layer’s {rule.name} units with f′ < {bound} for each of some training rows. f′ is their "
            "factor in dZ, so dead units do not learn, and pass no gradient on."
        )
    return "Saturated units", (
        f"The share of the outputs of a layer’s {rule.name} units, for some training rows, with f′ < {bound}. f′ is "
        "their factor in dZ, so saturated units hardly learn, and hardly pass a gradient on."
    )


def saturation_trouble(activation):
    """The end of the sentence "60% of layer 1's …", with what helps."""
    rule = registry.activation(activation)
    if rule.flat == "left":
        problem, remedies = "units are dead: their slope is nearly 0 for every row, and they do not learn", []
    else:
        problem, remedies = "outputs are saturated: its units hardly learn", ["more weight_decay"]
    remedies = ["A smaller lr", *remedies, *([f"{rule.instead} as model.activation"] if rule.instead else [])]
    *first, last = remedies
    return f"{problem}. {', '.join(first)}{' or ' if first else ''}{last} helps"
