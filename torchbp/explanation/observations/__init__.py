"""Sentences on a step: what keeps the network from learning, and what would help.

A sentence is a list of texts and quantities. It follows from where the factors stand in this network.

Advice is for what is wrong: answers that are far from their y, and layers that keep the gradient from changing them.
Facts are said of a network that is right, too: a gradient of exactly 0, units that are all off, frozen parameters, an
overflow, a minimum.
"""

from torchbp.explanation.observations.gradient_flow import cut_off, exploding, overflow, vanishing
from torchbp.explanation.observations.saturation import applied_twice, off, rounded_product, saturated, stuck
from torchbp.explanation.observations.whole_step import at_rest, copies, frozen, overshot


def observations(explanation):
    found = (
        overflow,
        copies,
        frozen,
        off,
        saturated,
        applied_twice,
        stuck,
        rounded_product,
        cut_off,
        vanishing,
        exploding,
    )
    return [sentence for observe in (*found, at_rest, overshot) for sentence in observe(explanation)]
