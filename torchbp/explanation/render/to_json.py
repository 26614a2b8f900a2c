"""An explanation as JSON, for other programs. `most` says how many numbers a tensor may have that is written whole; of
a larger one `values` is null, beside its least, largest and mean number."""

import functools
import json
import math

from torchbp.explanation.notation.numbers import Rest, Value
from torchbp.ops.expressions import Call, Expression


def as_json(explanation, most=None):
    """most: how many numbers a tensor has at most that is written whole; None is any."""
    tensor_of = functools.partial(_tensor_of, most=most)
    content = {
        "title": explanation.title,
        "network": explanation.chain.described(),
        "sizes": explanation.chain.sizes,
        "features": explanation.features,
        "unscaled": None if explanation.unscaled is None else tensor_of(explanation.unscaled),
        "outputs": explanation.outputs,
        "loss": type(explanation.step.loss).__name__,
        "lr": explanation.lr,
        "from": _finite(explanation.loss),
        "to": _finite(explanation.new_loss),
        "dz_norms": _finite(explanation.norms()),
        "observations": explanation.observations,
        "optimizer": explanation.step.descent.name,
        "constants": {name: value for name, value in explanation.step.symbols.items() if not hasattr(value, "shape")},
        "most": most,
        "given": {name: tensor_of(tensor) for name, tensor in explanation.step.given.items()},
        "records": [_record_of(record, tensor_of) for record in explanation.records],
        "steps": [_step_of(summary, tensor_of) for summary in explanation.steps.summaries()],
    }
    if explanation.ensemble is not None:
        content["ensemble"] = _ensemble_of(explanation.ensemble, tensor_of)
    return _in_json(json.dumps(content, ensure_ascii=False, allow_nan=False)) + "\n"


def _ensemble_of(ensemble, tensor_of):
    members = [
        {
            "number": one.number,
            "share": one.share,
            "made": one.made,
            "loss": _finite(one.loss),
            **tensor_of(one.answers),
        }
        for one in ensemble.members
    ]
    together = {"loss": _finite(ensemble.loss), **tensor_of(ensemble.answers), "spread": tensor_of(ensemble.spread)}
    return {"equation": ensemble.equation, "shown": ensemble.shown, "members": members, "together": together}


def _step_of(summary, tensor_of):
    return {
        "step": summary.number,
        "loss": _finite(summary.loss),
        "gradient_norm": _finite(summary.gradient_norm),
        "values": {name: tensor_of(tensor) for name, tensor in summary.values.items()},
    }


def _record_of(record, tensor_of):
    return {
        "name": record.name,
        "kind": record.kind,
        "quantity": _tree_of(record.quantity),
        "stage": record.stage,
        "number": record.number,
        "layer": record.layer,
        "equation": record.equation,
        "sides": [_tree_of(side) for side in record.sides],
        "elementwise": record.elementwise,
        "sizes": record.sizes,
        "why": record.why,
        "rule": record.rule,
        "chain": [_tree_of(factor) for factor in record.chain],
        "factors": [{"name": f.name, **_tree_of(f.derivative), **tensor_of(f.tensor)} for f in record.factors],
        "numbers": record.numbers,
        "example": {
            "place": [index + 1 for index in record.example.place],
            "tree": _tree_of(record.example.tree),
            "value": _finite(record.example.value),
        },
        "checks": [
            {"by": c.by, "ok": c.ok, "error": _finite(c.error), "bound": _finite(c.bound), "why": c.why}
            for c in record.checks
        ],
        **tensor_of(record.tensor),
    }


def _tree_of(tree):
    """A node as {"node": its kind, and its fields}; a derivative has the quantities `of` and `by`."""
    if isinstance(tree, Call):
        return {"node": "Call", "function": tree.function.name, "arguments": [_tree_of(a) for a in tree.arguments]}
    if isinstance(tree, Value):
        return {"node": "Value", "value": _finite(tree.value), "digits": tree.digits}
    if isinstance(tree, Rest):
        return {"node": "Rest", "count": tree.count, "value": _finite(tree.value), "digits": tree.digits}
    return {"node": type(tree).__name__} | {name: _field_of(getattr(tree, name)) for name in tree.__dataclass_fields__}


def _field_of(value):
    if isinstance(value, tuple):
        return [_field_of(v) for v in value]
    return _tree_of(value) if isinstance(value, Expression) else _finite(value)


def _tensor_of(tensor, most=None):
    """Its shape and its numbers; of one with more than `most` the least, the largest and the mean of them."""
    shape = list(tensor.shape)
    if most is None or tensor.numel() <= most:
        return {"shape": shape, "values": _finite(tensor.tolist())}
    found = tensor.double()
    numbers = {"least": found.min(), "largest": found.max(), "mean": found.mean()}
    return {"shape": shape, "values": None} | {name: _finite(number.item()) for name, number in numbers.items()}


def _finite(value):
    """JSON has no nan and no inf: they are texts."""
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _in_json(text):
    r"""JSON with each character that does not print as JSON's own escape: it holds what it held."""
    for character in sorted(c for c in set(text) if not c.isprintable()):
        units = character.encode("utf-16-be", "surrogatepass").hex()
        text = text.replace(character, "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4)))
    return text
