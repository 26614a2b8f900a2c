"""A forward that is set on one module, and stays with it when the module is copied, pickled or replicated.

`set_forward(module, function)` makes `module(x)` call `function(module, x)`; the class of the module stays as it is.
`torchbp.convert` gives torch's layers our forward this way, and the engine and `FusedMLP` recognise it.
"""

import types
import weakref


def set_forward(module, function):
    """Let the module compute `function(module, …)`.

    The function can be pickled, or has an attribute `set_again(module)`, which can, and which sets it.

    What torch.compile accepts for all instances of a class without compiling again for each is a bound method. A bound
    method is pickled as an attribute of its object, which would be found in the class; so the module reduces itself.
    """
    attributes = {"forward": function, **_COMPANIONS}
    module.__dict__.update({name: types.MethodType(f, module) for name, f in attributes.items()})


def unset_forward(module):
    """Undo `set_forward`: the module computes by its class again."""
    for name in ("forward", *_COMPANIONS):
        del module.__dict__[name]


def function_set(module):
    """The function of `set_forward(module, function)`; None where there was no such call, or another forward was set
    since."""
    return getattr(module.__dict__.get("forward"), "__func__", None) if was_set(module) else None


def was_set(module):
    """Whether `set_forward` was called with the module, and `unset_forward` was not."""
    return "__reduce_ex__" in module.__dict__


def _reduce_ex(module, protocol):
    """As its class pickles and copies the module, and then the forward again. A subclass keeps its own `__getstate__`,
    `__setstate__` and `__reduce__`."""
    reduced = type(module).__reduce_ex__(module, protocol)
    if isinstance(reduced, str):
        return reduced
    function = module.__dict__["forward"].__func__
    make, arguments, *state = reduced
    if state and isinstance(state[0], dict):
        state[0] = {name: value for name, value in state[0].items() if name != "forward" and name not in _COMPANIONS}
    again = getattr(function, "set_again", None)
    return _remade, (again or set_forward, () if again else (function,), make, arguments), *state


def _remade(set_again, function, make, arguments):
    module = make(*arguments)
    set_again(module, *function)
    return module


def _prepare_scriptable(module):
    raise RuntimeError(
        f"torch.jit.script cannot compile a converted {type(module).__name__}: a script has no autograd.Function; call "
        "torchbp.revert(model) first, or use torch.jit.trace, torch.compile or torch.export"
    )


def _replicate_for_data_parallel(module):
    replica = type(module)._replicate_for_data_parallel(module)
    function, replica_alive = module.__dict__["forward"].__func__, weakref.ref(replica)
    # torch makes and drops a replica in each forward: it must not hold itself, or its memory waits for the collector
    for name in _COMPANIONS:
        del replica.__dict__[name]
    replica.__dict__["forward"] = lambda *args, **kwargs: function(replica_alive(), *args, **kwargs)
    return replica


_COMPANIONS = {
    "__reduce_ex__": _reduce_ex,
    "__prepare_scriptable__": _prepare_scriptable,
    "_replicate_for_data_parallel": _replicate_for_data_parallel,
}
