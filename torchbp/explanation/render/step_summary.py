"""What a step did, in a sentence and in bars: how far the loss fell, and the size of each layer's gradient."""

import math

import torch

from torchbp.explanation.notation.numbers import formatted
from torchbp.explanation.render.plain_text import RAISED

BAR, DECADES = 30, 3  # the longest bar; the powers of ten that bars stand for, at least
CURVATURE = "the loss's curvature"
ROUNDING = 4  # eps, of the losses: what is less may be the rounding of their difference


def fall(explanation):
    """What the step changed, and what the slope alone predicted."""
    before, after = explanation.loss, explanation.new_loss
    change, predicted = after - before, explanation.lr * explanation.slope()
    if not math.isfinite(after):
        return f"The loss went from {formatted(before)} to {formatted(after)}: numbers overflow after a step so long."
    dtype = explanation.values["L"].dtype
    rounding = ROUNDING * torch.finfo(dtype).eps * max(abs(before), abs(after))
    slope = "α‖∇L‖²" if explanation.step.descent.is_plain else "α ∇L·D, where W′ = W − α D,"
    predicts = f"The slope alone predicted a fall of {slope} = {formatted(predicted)}"
    is_rounded = abs(change + predicted) <= rounding
    if not change:
        why = f": a change so small is lost in the rounding of {dtype}" if is_rounded else ""
        return f"The loss stays at {formatted(before)}." + (f" {predicts}{why}." if predicted else "")
    moved = f"rose by {formatted(change)}" if change > 0 else f"fell by {formatted(-change)}"
    rest = f"; the difference is {f'within the rounding of {dtype}' if is_rounded else CURVATURE}"
    rest = "" if is_rounded and formatted(-change) == formatted(predicted) else rest
    return f"The loss {moved}, from {formatted(before)} to {formatted(after)}. {predicts}{rest}."


def scale(norms):
    """The bars of ‖dL/dZ‖, in the terminal and on the page: the powers of ten that they go from and to, at least three
    apart, and the share of each bar, 0 for no gradient only."""
    powers = [math.log10(norm) if 0 < norm < math.inf else None for norm in norms]
    found = [power for power in powers if power is not None]
    high = math.ceil(max(found, default=0))
    low = min(math.ceil(min(found, default=0)) - 1, high - DECADES)
    ends = tuple(f"10{str(exponent).translate(RAISED)}" for exponent in (low, high))
    return ends, [0 if power is None else (power - low) / (high - low) for power in powers]


def bars(norms, first=1):
    """The last layer first, since that is the way that the gradient goes."""
    for layer, share in reversed(list(enumerate(scale(norms)[1], first))):
        bar = "█" * max(round(BAR * share), share > 0)
        yield f"  layer {layer:<3} {formatted(norms[layer - first]):>10}  {bar}".rstrip()
