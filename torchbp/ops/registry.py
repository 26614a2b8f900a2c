"""Which rules there are: by name, and by the class of a module.

register(rule)          makes a rule known
@implements(rule)       above a class: it is our module of the rule
attach(rule, cls)       modules of this class follow a rule that has no name in settings
rule_of(module)         the rule of a module, ours or torch's
of_torch(function)      our function with the arguments of torch's
is_converted(module)    whether a module of torch computes by our formulas
rules(Activation)       all rules of a kind
"""

from collections.abc import Callable

from torchbp._instance_forward import function_set
from torchbp.ops.rules import Activation, Rule

_named: dict[tuple[type, str], Rule] = {}
_rules: dict[type, Rule] = {}  # of the classes of modules, ours and torch's
_functions: dict[Callable, Callable] = {}  # of torch's functions, ours


def register(rule):
    """Make the rule known by its name, and by torch's module and functions; it is returned.

    Raises:
        ValueError: another rule has the name, or the module or a function of torch.
    """
    key = type(rule), rule.name
    if key in _named:
        raise ValueError(
            f"there is a rule of the {key[0].__name__.lower()} {rule.name!r} already; use another name, or "
            "unregister(rule) first"
        )
    if rule.torch_module in _rules:
        raise ValueError(f"{rule.torch_module.__name__} has the rule {_rules[rule.torch_module].name!r} already")
    for function in rule.torch_functions:
        if function in _functions:
            raise ValueError(f"{function} of torch has the operation {_functions[function].__name__!r} already")
    _named[key] = rule
    _functions.update(rule.torch_functions)
    if rule.torch_module is not None:
        _rules[rule.torch_module] = rule
    return rule


def unregister(rule):
    """The inverse of `register` and `implements`: for tests, and for a notebook's cell that is run again."""
    _named.pop((type(rule), rule.name), None)
    for function in rule.torch_functions:
        _functions.pop(function, None)
    object.__setattr__(rule, "module_class", None)
    for cls in [cls for cls, r in _rules.items() if r is rule]:
        del _rules[cls]


def implements(rule):
    """A class decorator: the class is our module of this rule.

    Raises:
        ValueError: the rule is not registered, or it or the class is taken.
        TypeError: torch has a module for it, and the class is no subclass of that.
    """

    def decorate(cls):
        if _named.get((type(rule), rule.name)) is not rule:
            raise ValueError(f"the rule {rule.name!r} is not registered; write register(rule) before @implements(rule)")
        if cls in _rules:
            raise ValueError(f"{cls.__name__} has the rule {_rules[cls].name!r} already; use a class of its own")
        if rule.module_class is not None:
            raise ValueError(
                f"{rule.module_class.__name__} implements {rule.name!r} already; use unregister(rule) first"
            )
        if rule.torch_module is not None and not issubclass(cls, rule.torch_module):
            raise TypeError(f"{cls.__name__} must be a subclass of {rule.torch_module.__name__}, which it stands for")
        _rules[cls] = rule
        object.__setattr__(rule, "module_class", cls)
        return cls

    return decorate


def attach(rule, cls):
    """Let modules of the class follow the rule, which no table of operations has: a loss around other losses, say."""
    _rules[cls] = rule


def rule_of(module):
    """The rule of a module, by its exact class: a subclass may compute something else. None where there is none."""
    return _rules.get(type(module))


def of_torch(function):
    """Our function with the arguments of this function of torch; None where there is none."""
    return _functions.get(function)


def our_classes():
    """{torch's class of modules: ours}, and of operations that torch does not have {ours: ours}, of all rules."""
    return {rule.known_class: rule.module_class for rule in _named.values() if rule.module_class}


def is_converted(module):
    """Whether `torchbp.convert` gave this module the forward of our class, and it still has it."""
    function = function_set(module)
    return function is not None and any(function is cls.forward for cls in our_classes().values())


def refusal(module):
    """Why the formulas of its rule do not compute what this module does; None where they do."""
    refuses = rule_of(module).refuses
    return refuses and refuses(module)


def rules(kind):
    """{name: rule} of a kind, `Activation`, `Layer`, `Loss` or `Operation`, by the alphabet."""
    return {name: rule for (of, name), rule in sorted(_named.items(), key=lambda item: item[0][1]) if of is kind}


def activation(name):
    """The rule of the activation with this name.

    Raises:
        ValueError: there is none; the message lists the names.
    """
    rule = _named.get((Activation, name)) if isinstance(name, str) else None
    if rule is None:
        raise ValueError(f"activation={name!r} is not known; use {', '.join(rules(Activation))}")
    return rule
