"""`torchbp bench accuracy`: the worst error of each operation, forward and backward, in ulp, beside torch's.

Every rule is measured. Activations and losses that work element by element are, over a sweep of magnitudes from 1e-30
to 1e30 and of where they saturate, each element in its own ulp. The others need a row in
`helpers/accuracy/inputs.py`, and are measured normwise. `helpers/accuracy/ulps.py` says what an ulp is. The exact
numbers are mpmath's and longdouble's.
"""

import itertools

import torch

import torchbp.nn  # noqa: F401  its modules make all rules known
from torchbp.benchmarks.helpers.accuracy import elements, formula_book, sums
from torchbp.benchmarks.helpers.accuracy.formula_book import table
from torchbp.benchmarks.helpers.accuracy.inputs import INPUTS, VARIANTS
from torchbp.benchmarks.helpers.accuracy.ulps import IS_FINER, text
from torchbp.ops.registry import rules
from torchbp.ops.rules import KINDS, Activation, Loss

DTYPES = torch.float64, torch.float32, torch.bfloat16, torch.float16
COLUMNS = "forward", "backward"


def measure(only=None, count=150, draws=3):
    """A record of every rule and dtype: the errors of both, and at which input ours is worst; or a note that a rule is
    missing.

    Args:
        only: the names of rules; None is all.
        count: a sixth of the numbers of a sweep.
        draws: of the inputs of the others, for each magnitude.
    """
    for name, rule in all_rules().items():
        if only is not None and name not in only:
            continue
        if (why := missing(rule)) is not None:
            yield {"note": f"missing: {name}: {why}"}
            continue
        for (operation, row, variant), dtype in itertools.product(cases(name), DTYPES):
            yield {
                "operation": operation,
                "dtype": str(dtype).removeprefix("torch."),
                **errors_of(rule, dtype, count, draws, variant, row),
            }


def cases(name):
    """(what it is called, its row of INPUTS or None, its keywords) of each way in which an operation is measured."""
    if name in INPUTS:
        return [(key, row, {}) for key, row in INPUTS.items() if key.split(",")[0] == name]
    return [
        (", ".join([name, *(f"{key}={value}" for key, value in variant.items())]), None, variant)
        for variant in VARIANTS.get(name, ({},))
    ]


def all_rules():
    """{operation: a rule of it}: several modules over one function, as of batch_norm, are one operation."""
    found = {}
    for rule in (rule for kind in KINDS for rule in rules(kind).values()):
        found.setdefault(rule.apply.__name__, rule)
    return found


def missing(rule):
    """What the measurement of a rule lacks; None where it has all."""
    if rule.apply.__name__ in INPUTS:
        return None
    if not by_elements(rule):
        return "it has no row in torchbp/benchmarks/helpers/accuracy/inputs.py"
    if rule.torch_module is None:
        return "it has no torch_module to compare with"
    try:
        next(elements.measured(rule, torch.float32, 2, {}))
    except LookupError as error:
        return error.args[0]
    return None


def by_elements(rule):
    return isinstance(rule, Activation) or (isinstance(rule, Loss) and rule.target == "elements" and rule.equation)


def errors_of(rule, dtype, count, draws, variant, row=None):
    """{"forward": ours, "forward_torch": torch's, "forward_at": where ours is worst, …}; nothing for a dtype that
    torch's operation has not."""
    found = {}
    if dtype is torch.float64 and not IS_FINER:
        return found
    try:
        if row is not None:
            results = list(sums.measured(rule, row, dtype, draws))
        else:
            results = list(elements.measured(rule, dtype, count, variant))
    except (RuntimeError, NotImplementedError) as error:
        if "not implemented for" not in str(error):
            raise
        return found
    for direction, whose, error, where in results:
        key = direction + ("_torch" if whose == "torch" else "")
        if isinstance(where, (tuple, list)):
            size, at = elements.worst(error, where)
        else:
            size, at = float(error.max(initial=0)), f"× {where:g}"
        if size is not None and size >= found.get(key, -1):
            found[key] = size
            found[f"{key}_at"] = at
    return found


HEADS = "operation", *(f"{dtype} {way}".removeprefix("torch.") for dtype in DTYPES for way in COLUMNS)


def rows(records):
    """{operation: its cells, "ours / torch's" of each dtype, forward and backward}."""
    found = {}
    for record in records:
        cells = found.setdefault(record["operation"], [])
        cells += [f"{text(record[way])} / {text(record[f'{way}_torch'])}" if way in record else "–" for way in COLUMNS]
    return found


def worse(records):
    """A line for each operation, dtype and direction in which ours is worse than torch's by more than half an ulp."""
    for record in records:
        for way in COLUMNS:
            ours, torchs = record.get(way), record.get(f"{way}_torch")
            if ours is not None and ours > torchs + 0.5:
                of = f"{record['operation']} {record['dtype']} {way}"
                yield f"worse than torch: {of}: {text(ours)} ulp at {record[f'{way}_at']}, torch's {text(torchs)}"


def show(console, records):
    console.print("worst error in ulp of the exact result, ours / torch's", soft_wrap=True)
    print(table(HEADS, [[f"`{name}`", *cells] for name, cells in rows(records).items()]))
    for line in worse(records):
        print(line)


def write(book, records):
    """Write the tables of the formula book."""
    formula_book.write(book, HEADS, rows(records))
