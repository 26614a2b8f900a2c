"""The records that the backward pass starts with: dL/dA of the answers, and, where the loss takes logits, dL/dZ."""

from torchbp.explanation.comparison.agreement import differences
from torchbp.explanation.notation.digits import CLOSE
from torchbp.explanation.notation.quantities import Derivative, d
from torchbp.explanation.notation.records import Factor
from torchbp.ops.rules import Activation


def add_derivative_of_answers(step):
    """dL/dA of the answers, and, where the loss takes logits, dL/dZ."""
    criterion, output, last = step.criterion, step.chain.output, step.chain.steps[-1]
    answer, gradient = criterion.answer, step.values[d(output).name]
    slope, bounded = criterion.tree("slope"), step.bounded
    reason = f"The backward pass starts here: how fast L changes when {answer.name} changes."
    da, excused = gradient, None
    if bounded.any():
        reason += f" {criterion.computed_how('slope')}"
        excused = bounded, criterion.divided(criterion.tree("slope", computed=True))
    if criterion.rule.answers is not None:
        computed = criterion.tree("slope", computed=criterion.rule.slope_computed is not None)
        da = computed.evaluate(step.symbols) / criterion.divisor
    of_mean = ()
    if criterion.mean and criterion.factor == 1 and criterion.divisor != 1:
        of_mean = (
            " L is a mean: the division by ",
            criterion.count_symbol(),
            " comes in here, once for all below.",
        )
    step.add(
        d(answer),
        "derivative",
        "backward",
        last,
        [criterion.over_count(slope)],
        da,
        [reason, *of_mean],
        criterion.divided(slope),
        excused=excused,
        chain=(d(answer),),
    )
    if criterion.rule.answers is None:
        return
    rule, a, z = criterion.rule.answers, step.values[answer.name], step.values[output.name]
    local = Derivative(answer, output)
    sides, tree, excused = [criterion.answers_tree("derivative")], None, None
    if isinstance(rule, Activation):
        slope_is = rule.slope_description.format(a=answer.name, z=output.name)
        reason = ["Chain rule: multiply by the slope ", local, f", {slope_is}."]
    else:
        reason = [f"Chain rule: {rule.backward_why.format(x=output.name, z=answer.name)}."]
    if criterion.rule.error is not None:
        error = criterion.tree("error")
        sides.append(criterion.under_count(error))
        tree = criterion.divided(error)
        words = criterion.rule.error_description
        words = words(criterion.given) if callable(words) else words
        reason = [words.format(a=answer.name, z=output.name)]
        if criterion.rule.error_computed and (rounded := _rounded(step, tree, gradient)).any():
            reason[0] += f" {criterion.computed_how('error')}"
            excused = rounded, criterion.divided(criterion.tree("error", computed=True))
    factors = ()
    if isinstance(rule, Activation):
        factors = (Factor(d(answer), da), Factor(local, rule.derivative(a, z)))
    step.add(
        d(output),
        "derivative",
        "backward",
        last,
        sides,
        gradient,
        reason,
        tree,
        excused=excused,
        chain=(d(answer), local),
        factors=factors,
    )


def _rounded(step, tree, gradient):
    """Where the equation gives other digits than the gradient has, since its numbers are rounded."""
    errors, bounds = differences(tree, gradient, step.symbols)
    return (errors > CLOSE * gradient.abs()) & (errors <= bounds)
