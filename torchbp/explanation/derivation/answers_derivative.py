"""The records that the backward pass starts with: dL/dA of the answers, and, where the loss takes logits, dL/dZ."""

from torchbp.explanation.comparison.agreement import differences
from torchbp.explanation.notation.digits import CLOSE
from torchbp.explanation.notation.quantities import Derivative, d
from torchbp.explanation.notation.records import Factor
from torchbp.ops.rules import Activation


def add_derivative_of_answers(step):
    """dL/dA of the answers, and, where the loss takes logits, dL/dZ."""
    answer, output, last = step.criterion.answer, step.chain.output, step.chain.steps[-1]
    gradient = step.values[d(output).name]
    slope, bounded = step.criterion.tree("slope"), step.bounded
    reason, criterion = f"The backward pass starts here: how fast L changes when {answer.name} changes.", step.criterion
    da, excused = gradient, None
    if bounded.any():
        reason += f" {step.criterion.computed_how('slope')}"
        excused = bounded, step.criterion.divided(step.criterion.tree("slope", computed=True))
    if step.criterion.rule.answers is not None:
        computed = step.criterion.tree("slope", computed=step.criterion.rule.slope_computed is not None)
        da = computed.evaluate(step.symbols) / step.criterion.divisor
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
        [step.criterion.over_count(slope)],
        da,
        [reason, *of_mean],
        step.criterion.divided(slope),
        excused=excused,
        chain=(d(answer),),
    )
    if step.criterion.rule.answers is None:
        return
    rule, a, z = step.criterion.rule.answers, step.values[answer.name], step.values[output.name]
    local = Derivative(answer, output)
    sides, tree, excused = [step.criterion.answers_tree("derivative")], None, None
    if isinstance(rule, Activation):
        slope_is = rule.slope_description.format(a=answer.name, z=output.name)
        reason = ["Chain rule: multiply by the slope ", local, f", {slope_is}."]
    else:
        reason = [f"Chain rule: {rule.backward_why.format(x=output.name, z=answer.name)}."]
    if step.criterion.rule.error is not None:
        error = step.criterion.tree("error")
        sides.append(step.criterion.under_count(error))
        tree = step.criterion.divided(error)
        words = step.criterion.rule.error_description
        words = words(step.criterion.given) if callable(words) else words
        reason = [words.format(a=answer.name, z=output.name)]
        if step.criterion.rule.error_computed and (rounded := _rounded(step, tree, gradient)).any():
            reason[0] += f" {step.criterion.computed_how('error')}"
            excused = rounded, step.criterion.divided(step.criterion.tree("error", computed=True))
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
