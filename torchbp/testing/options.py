"""The options of `check`, validated."""

from dataclasses import dataclass, fields
from numbers import Integral, Real

from torchbp.printing import did_you_mean


@dataclass(frozen=True)
class Options:
    """The options of `check`, for the checks to read. Invalid ones are refused before anything runs."""

    eps: float | None = None
    atol: float | None = None
    rtol: float | None = None
    nondet_tol: float = 0.0
    batch_dims: object = None
    domain: object = None
    reference: object = None
    surrogate: object = None
    seed: int = 0
    seconds: float = 40.0

    def __post_init__(self):
        for name in ("eps", "atol", "rtol"):
            if getattr(self, name) is not None:
                _check_tolerance(name, getattr(self, name))
        _check_tolerance("nondet_tol", self.nondet_tol)
        _check_tolerance("seconds", self.seconds)
        if self.eps == 0:
            raise ValueError("eps must be greater than 0")
        if not _is_a(Integral, self.seed):
            raise TypeError(f"seed must be an integer, not {self.seed!r}")
        if abs(self.seed) > 2**53:
            raise ValueError(f"seed must be between -2**53 and 2**53, and is {self.seed}")
        for name in ("reference", "surrogate"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise TypeError(f"{name} must be a function or a module, not {value!r}")
        for value in _values_of(self.batch_dims):
            _check_count(value)
        for value in _values_of(self.domain):
            _check_domain(value)

    def expect_inputs(self, inputs):
        """Raise a ValueError for a name that no input has, or leading dimensions that the inputs do not have."""
        for option in ("domain", "batch_dims"):
            value = getattr(self, option)
            for name in value if isinstance(value, dict) else ():
                _check_name(option, name, [argument.name for argument in inputs])
        leading = {}
        for argument in inputs:
            shape, count = list(argument.tensor.shape), self.batch_of(argument)
            if count > len(shape):
                raise ValueError(
                    f"batch_dims: {argument.name} has the shape {shape}, fewer than {count} dimensions; {_BY_NAME}"
                )
            if count:
                leading[argument.name] = shape[:count]
        if any(shape != next(iter(leading.values())) for shape in leading.values()):
            raise ValueError(f"batch_dims: the leading dimensions must be alike, and are {leading}; {_BY_NAME}")

    def batch_of(self, argument):
        """How many leading dimensions of an input the function maps over."""
        count = self.batch_dims
        return (count.get(argument.name) if isinstance(count, dict) else count) or 0


_OF_GRADCHECK = {  # what torch.autograd.gradcheck calls otherwise
    "check_forward_ad": "the check jvp; require='jvp'",
    "check_batched_grad": "the check batched_grad; require='batched_grad'",
    "check_batched_forward_grad": "the checks jvp and vmap",
    "check_undefined_grad": "the check linearity",
    "check_grad_dtypes": "the check dtypes",
    "check_backward_ad": "always so",
    "fast_mode": "checks='fast'; large Jacobians are compared in projections anyway",
    "check_sparse_nnz": "always so: the values of a sparse tensor are audited",
    "masked": "always so: the values of a sparse tensor are audited",
    "gen_non_contig_grad_outputs": "the check layouts",
}


def refuse_keywords(names):
    """Raise a TypeError for a keyword that `check` does not have; of gradcheck's own it says what stands for it."""
    for name in names:
        if name in _OF_GRADCHECK:
            raise TypeError(f"{name} is of gradcheck; here it is {_OF_GRADCHECK[name]}")
        known = [field.name for field in fields(Options)] + ["checks", "skip", "require", "isolate", "raise_exception"]
        raise TypeError(f"check has no option {name!r}; {did_you_mean(name, known)}")


_BY_NAME = "for inputs that differ, a dict by name: 0 for those that have none"


def _values_of(option):
    """The values of an option that is None, one for every input, or a dict by name."""
    if isinstance(option, dict):
        return list(option.values())
    return [] if option is None else [option]


def _is_a(kind, value):
    return isinstance(value, kind) and not isinstance(value, bool)


def _check_tolerance(name, value):
    if not _is_a(Real, value):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not value >= 0:
        raise ValueError(f"{name} must not be negative or nan, and is {value!r}")


def _check_count(value):
    if not _is_a(Integral, value):
        raise TypeError(f"batch_dims must be a number of dimensions, or a dict of such by name, not {value!r}")
    if value < 0:
        raise ValueError(f"batch_dims must not be negative, and is {value!r}")


def _check_domain(value):
    pair = isinstance(value, (tuple, list)) and len(value) == 2
    if not (pair and _is_a(Real, value[0]) and _is_a(Real, value[1])):
        raise TypeError(f"domain must be two numbers (low, high), or a dict of such by name, not {value!r}")
    if not value[0] < value[1]:
        raise ValueError(f"domain must be (low, high) with low < high, and is {value!r}")


def _check_name(option, name, known):
    if name not in known:
        raise ValueError(f"{option}: there is no input {name!r}; {did_you_mean(name, known)}")
