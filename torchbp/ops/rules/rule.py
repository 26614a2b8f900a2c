"""What all kinds of rules have, and the rule of an operation that is none of the other kinds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from torchbp.ops.rules.checked import REQUIRED, Checked


@dataclass(frozen=True, kw_only=True, eq=False)
class Rule(Checked):
    """What all kinds of rules have.

    name: of the operation, as in `torchbp.ops` and in settings.
    apply: the operation as a user calls it, which records its formulas for autograd: of tensors, and of the options as
        keywords.
    torch_module: the module of torch that computes the same, or None.
    torch_functions: the functions of torch that compute the same, each with ours, which takes the same arguments:
        `{F.linear: linear}`.
    options: names of the module's attributes that are constants of the operation, such as the slope of a leaky relu.
        `forward`, `backward` and the other formulas take them as keywords.
    numbers: those of them that the formulas also take as a tensor of one number, so that a program in C that was made
        of a trace serves for all of them.
    module_class: our module, the class that `@implements(rule)` is above; None where there is none.
    refuses(module): why the formulas do not compute what this module does, the end of the sentence "layer … is not
        supported: …"; or None where they do. For options of torch's module that the rule does not have.
    reference(module, *inputs): what torch's module gives, by other operations of torch, where its own are not exact
        enough to compare with; None is its forward.
    """

    name: Annotated[str, "the name of the operation"] = REQUIRED
    apply: Annotated[Callable, "the operation with its autograd.Function"] = REQUIRED
    torch_module: Annotated[type | None, "torch's module, or None"] = None
    torch_functions: Annotated[dict, "{torch's function: ours}"] = field(default_factory=dict)
    options: Annotated[tuple[str, ...], "a tuple of names of constants"] = ()
    refuses: Annotated[Callable | None, "refuses(module) → why, or None"] = None
    reference: Annotated[Callable | None, "reference(module, inputs) → output, by torch, or None"] = None
    numbers: Annotated[tuple[str, ...], "a tuple of those of the options that may be tensors"] = ()
    module_class = None  # no part: it is set by `implements`

    def __post_init__(self):
        super().__post_init__()
        if wrong := [name for name in self.numbers if name not in self.options]:
            raise ValueError(f"{self._described()} has numbers={self.numbers}; {wrong[0]!r} is none of its options")

    @property
    def known_class(self):
        """The class of modules that people know the operation by: torch's, or ours; None where there is neither."""
        return self.torch_module or self.module_class

    def options_of(self, module):
        """The constants of the module, name: value, as they are now."""
        options, buffers = {}, module._buffers  # reading a buffer as an attribute costs 1 µs
        for name in self.options:
            options[name] = buffers[name] if name in buffers else getattr(module, name)
        return options


@dataclass(frozen=True, kw_only=True, eq=False)
class Operation(Rule):
    """Any other operation, such as one of several inputs. `convert` reaches it; the engine does not run it."""
