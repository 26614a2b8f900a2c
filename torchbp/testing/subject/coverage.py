"""What no check compares: notes for the report, and the reason where nothing can be compared at all."""

from torchbp.printing import with_article
from torchbp.testing.report import Defect, Skipped
from torchbp.testing.subject.naming import listing


def not_compared(subject):
    """A note for each part of the arguments and outputs that no check compares."""
    outputs = subject.outputs
    kinds = {_type_name(value) for value in outputs.others if not isinstance(value, (str, bool, int, type(None)))}
    notes = [f"not compared: {kind} that it returns" for kind in sorted(kinds)] if outputs.shapes else []
    notes += [f"not compared: {outputs.names[i]}, which has no graph" for i in outputs.detached]
    for argument in subject.arguments:
        bad, total = int(argument.tensor.isnan().sum()), argument.tensor.numel()
        if bad and argument.differentiable:
            what = f"what depends on the nan in {argument.name}, {bad} of its {total} numbers"
            notes.append(f"not compared: {what}")
    for leaf in subject.unreached:
        what = f"a tensor of shape {tuple(leaf.shape)} that {subject.name} holds and that requires a gradient"
        remedy = "register it as a parameter" if subject.callee.module is not None else "give it as an argument"
        notes.append(f"not varied, and its gradient not compared: {what}; {remedy}")
    return notes


def not_varied(subject, checks):
    """A note on the tensors without a gradient, if the check that varies them does not run."""
    names = [a.name for a in subject.arguments if not a.differentiable and a.kind == "input" and a.tensor.numel()]
    return [f"not varied: {listing(names)}"] if names and "variations" not in checks else []


def expect_comparable(subject, check):
    """There is something to compare: else `values` fails, and every other check is skipped."""
    problem = _nothing_to_compare(subject)
    if problem:
        why, remedy = problem
        if check == "values":
            raise Defect(f"nothing was compared: {why}", [f"to do: {remedy}"])
        raise Skipped(f"nothing to compare: {why}")


def _nothing_to_compare(subject):
    """(why nothing can be compared, what to do about it), or None."""
    outputs = subject.outputs
    wanted = [subject.point[i] for i in subject.differentiable]
    if not outputs.shapes:
        kinds = listing(sorted({_type_name(value) for value in outputs.others})) if outputs.others else "nothing"
        remedy = "return the tensor itself, without .item() or .numpy(); those of an object in a tuple or a dict"
        return f"it returns {kinds}, and no tensor", remedy
    if not wanted:
        return "no argument is floating and requires a gradient", "give one, such as torch.randn(3)"
    if not outputs.compared:
        kinds = listing(sorted({str(dtype).removeprefix("torch.") for dtype in outputs.dtypes}))
        return f"it returns tensors of {kinds} alone, which have no derivatives", "return a floating tensor"
    if not any(tensor.numel() for tensor in wanted):
        return "every argument is empty", "give one with some numbers"
    if not any(outputs.shapes[i].numel() for i in outputs.compared):
        return "every output is empty", "give inputs of which it makes some numbers"
    if not outputs.finite:
        nan = [a.name for a in subject.arguments if bool(a.tensor.isnan().any())]
        why = f", and {listing(nan)} has nan" if nan else ""
        return f"no output is a finite number{why}", "give inputs at which it has finite outputs"
    return None


def _type_name(value):
    """A word for the type of a value, with its article."""
    if value is None:
        return "None"
    return with_article(type(value).__name__)
