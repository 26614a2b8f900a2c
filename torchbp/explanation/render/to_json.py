"""An explanation as JSON, for other programs."""

import json
import math


def as_json(explanation):
    content = {
        "title": explanation.title,
        "network": explanation.chain.described(),
        "sizes": explanation.chain.sizes(),
        "features": explanation.features,
        "outputs": explanation.outputs,
        "loss": type(explanation.derivation.loss).__name__,
        "lr": explanation.lr,
        "from": finite(explanation.loss),
        "to": finite(explanation.new_loss),
        "dz_norms": finite(explanation.norms()),
        "observations": explanation.observations,
        "given": {name: tensor_of(explanation.values[name]) for name in ("X", "y", *explanation.chain.start)},
        "records": [record_of(record) for record in explanation.records],
    }
    return in_json(json.dumps(content, ensure_ascii=False, allow_nan=False)) + "\n"


def record_of(record):
    return {
        "name": record.name,
        "stage": record.stage,
        "number": record.number,
        "layer": record.layer,
        "equation": record.equation,
        "sizes": record.sizes,
        "why": record.why,
        "rule": record.rule,
        "factors": [{"name": factor.name, **tensor_of(factor.tensor)} for factor in record.factors],
        "numbers": record.numbers,
        "checks": [
            {"by": c.by, "ok": c.ok, "error": finite(c.error), "bound": finite(c.bound), "why": c.why}
            for c in record.checks
        ],
        **tensor_of(record.tensor),
    }


def tensor_of(tensor):
    return {"shape": list(tensor.shape), "values": finite(tensor.tolist())}


def finite(value):
    """JSON has no nan and no inf: they are texts."""
    if isinstance(value, list):
        return [finite(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def in_json(text):
    r"""JSON with each character that does not print as JSON's own escape: it holds what it held."""
    units = (c if c.isprintable() else c.encode("utf-16-be", "surrogatepass").hex() for c in text)
    return "".join(u if len(u) < 4 else "".join(f"\\u{u[i : i + 4]}" for i in range(0, len(u), 4)) for u in units)
