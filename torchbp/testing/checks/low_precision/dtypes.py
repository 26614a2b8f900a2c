"""Other precisions: what the forward takes, the backward takes, with the right numbers; and autocast."""

import torch

from torchbp.testing.numerics.gradients import backward, incoming_for, need, need_float64, usual_size
from torchbp.testing.numerics.low_precision import agree, results_at
from torchbp.testing.numerics.tensors import coarseness, first_line, flat, largest, nudged, shortened
from torchbp.testing.report import ROUNDED, Defect, Skipped, Unsupported
from torchbp.testing.subject.captured.leaves import captures_tensors
from torchbp.testing.subject.naming import listing

_LOW = ((torch.float32, 1e-3), (torch.bfloat16, 0.1), (torch.float16, 0.05))  # with the tolerance
_MIXED = (  # parts of torch's messages where dtypes are mixed
    "same dtype",
    "expected scalar type",
    "same data type",
    "dtypes to match",
    "dtype do not match",
    "Type promoting",
)
_FIXED_DTYPE = "likely cause: a tensor made with a fixed dtype, or one that is no buffer of the module"
_LOW_DTYPE = "likely cause: .float(), .half() or a tensor of the default dtype in the backward"
_AUTOCAST = "likely cause: dtypes that autocast mixes; see torch.amp.custom_fwd, custom_bwd"


def dtypes(subject):
    need_float64(subject)
    _expect_full_precision(subject)
    usual = usual_size(subject)
    is_complex = any(subject.arguments[i].tensor.is_complex() for i in subject.differentiable)
    low = _LOW[:1] if is_complex else _LOW
    refused = [words for dtype, tolerance in low if (words := _audit_in(subject, dtype, tolerance, usual))]
    if len(refused) == 3:
        raise Unsupported(f"the forward refuses {listing(refused)}; to add it: no hard-coded dtypes")
    return f"refused: {listing(refused)}" if refused else ""


def _audit_in(subject, dtype, tolerance, usual):
    """Words on why the forward refuses this dtype; None if it takes it, and all is well."""
    word, wanted = str(dtype).removeprefix("torch."), subject.differentiable
    tensors = subject.fresh_tensors(wanted, dtype=dtype)
    subject.report_progress(f"in {word}")
    try:
        outputs = subject.call(tensors)
    except Exception as error:
        text = first_line(error)
        is_mixed = isinstance(error, RuntimeError) and any(words in text for words in _MIXED)
        if is_mixed and not captures_tensors(subject.callee.original):
            raise Defect(f"in {word} the forward mixes dtypes: {text}", [_FIXED_DTYPE]) from None
        return f"{word} ({shortened(text, 80)})"
    if not any(o.requires_grad for o in outputs):
        raise Defect(f"in {word} no output has a gradient, and in float64 it has")
    try:
        found = backward(outputs, [tensors[i] for i in wanted], incoming_for(subject, outputs, 7))
    except Defect as defect:
        if isinstance(defect.__cause__, NotImplementedError):
            return f"{word} ({shortened(first_line(defect.__cause__), 80)})"
        raise defect.within(f"in {word}: ") from None
    for i, gradient in zip(wanted, found, strict=True):
        if gradient.dtype != tensors[i].dtype:
            raise Defect(f"in {word} the gradient of {subject.arguments[i].name} has the dtype {gradient.dtype}")
    if all(bool(o.isfinite().all()) for o in outputs):
        agree(subject, subject.point, dtype, f"the inputs in {word}", (outputs, found), usual, tolerance)
    return None


def _expect_full_precision(subject):
    """A gradient whose float64 numbers are all float32 numbers was computed in float32."""
    if subject.precision.unit >= 1e-10:
        return
    found = results_at(subject, [nudged(t) for t in subject.point], torch.float64)
    if found is None:
        return
    for i, gradient in zip(subject.differentiable, found[1], strict=True):
        unit, name = coarseness(flat(gradient)), subject.arguments[i].name
        if unit and largest(gradient) > subject.negligible_gradient(name):
            raise Defect(f"the gradient of {name} in float64 has only the precision {unit:.1g}", [_LOW_DTYPE], ROUNDED)


def autocast(subject):
    """The forward under autocast, the backward outside of it, as trainers do."""
    need(subject)
    wanted = subject.differentiable
    if any(subject.arguments[i].tensor.is_complex() for i in wanted) or subject.precision.input_unit > 1e-10:
        raise Skipped("only for real numbers, and functions that take float64")
    tensors = subject.fresh_tensors(wanted, dtype=torch.float32)
    device = tensors[wanted[0]].device.type
    try:
        subject.call(tensors)
    except Exception as error:
        raise Skipped(f"the forward refuses float32: {first_line(error)}") from None
    try:
        with torch.autocast(device, torch.bfloat16):
            outputs = subject.call(tensors)
    except Exception as error:
        text = first_line(error)
        if isinstance(error, RuntimeError) and any(m in text for m in (*_MIXED, "the same scalar type", "dtypes")):
            raise Defect(f"the forward mixes dtypes under autocast: {text}") from None
        raise Unsupported(f"the forward raises under autocast: {text}; to add it: torch.amp.custom_fwd") from None
    if not any(o.requires_grad for o in outputs):
        raise Defect("under autocast no output has a gradient")
    try:
        found = backward(outputs, [tensors[i] for i in wanted], incoming_for(subject, outputs, 7))
    except Defect as defect:
        raise defect.within("forward under autocast, backward outside of it: ", [_AUTOCAST]) from None
    if all(bool(o.isfinite().all()) for o in outputs):
        what, results = "the inputs under autocast", (outputs, found)
        agree(subject, subject.point, torch.bfloat16, what, results, usual_size(subject), 0.1)
