"""Backpropagation with its formulas in plain sight, for PyTorch.

Layers whose forward and backward passes are written out by hand:

    net = torchbp.nn.MLP(30, 16, 1)         modules, as those of torch.nn; torchbp.ops has their functions
    torchbp.convert(model, report=print)    lets the layers of any model run our formulas; torchbp.revert undoes it
    torchbp.is_converted(layer)             whether it does
    with torchbp.formulas(): …              functions too, such as torch.nn.functional.linear
    print(torchbp.coverage(model, x))       how much of a step our formulas computed

Gradient descent without autograd:

    torchbp.backprop(net, x, y)             fills .grad by the formulas
    optimizer = torchbp.SGD(net, lr=0.5)    optimizer.backprop_step(x, y) is a step, optimizer.fit(x, y) the loop
    torchbp.Adam, torchbp.AdamW             the same by Adam
    torchbp.stack(networks)                 many MLPs as one ensemble; torchbp.unstack gives them back

Looking at gradients:

    torchbp.check(function, inputs)         audits the gradients of any function, autograd.Function or module
    torchbp.explain(net, x, y, lr=0.5)      every quantity of a step, by formula and by number
    torchbp.exercise(net, x, y)             grades a backward pass that you have written yourself

Training on tables, by the command `torchbp fit` or in Python, is `torchbp.training`; `torchbp.estimators` has networks
with scikit-learn's interface. They need the packages of `pip install "torchbp[train]"`. `import torchbp` imports
nothing: a name is imported when it is first used.
"""

from typing import TYPE_CHECKING

from torchbp._imports import lazy

if TYPE_CHECKING:
    from torchbp import engine, estimators, explanation, nn, ops, testing, training
    from torchbp.conversion import convert, is_converted, revert
    from torchbp.engine import SGD, Adam, AdamW, backprop
    from torchbp.explanation import exercise, explain
    from torchbp.function_calls import formulas
    from torchbp.nn.mlp import stack, unstack
    from torchbp.reach import coverage
    from torchbp.testing import check

__version__ = "0.1.0"
__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "backprop",
    "check",
    "convert",
    "coverage",
    "engine",
    "estimators",
    "exercise",
    "explain",
    "explanation",
    "formulas",
    "is_converted",
    "nn",
    "ops",
    "revert",
    "stack",
    "testing",
    "training",
    "unstack",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        __all__,
        {
            "Adam": "torchbp.engine",
            "AdamW": "torchbp.engine",
            "SGD": "torchbp.engine",
            "backprop": "torchbp.engine",
            "check": "torchbp.testing",
            "convert": "torchbp.conversion",
            "coverage": "torchbp.reach",
            "exercise": "torchbp.explanation",
            "explain": "torchbp.explanation",
            "formulas": "torchbp.function_calls",
            "is_converted": "torchbp.conversion",
            "revert": "torchbp.conversion",
            "stack": "torchbp.nn.mlp",
            "unstack": "torchbp.nn.mlp",
        },
    )
