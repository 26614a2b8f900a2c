"""How each module of torchbp.nn is made, and the shapes that it takes; a pair says how they are drawn."""

from torchbp import nn
from torchbp.ops.registry import rules
from torchbp.ops.rules import Activation, Loss

CLASSES = "below 3", (4,)
PROBABILITIES = "probability", (4, 3)

# of an elementwise activation, and of a loss of numbers, the rule says it all
MODULES = {rule.module_class.__name__: ({}, [(4, 3)]) for rule in rules(Activation).values() if rule.module_class}
MODULES |= {
    rule.module_class.__name__: ({}, [PROBABILITIES, PROBABILITIES])
    for rule in rules(Loss).values()
    if rule.module_class and rule.target == "elements"
}
# name: (its arguments, the shapes)
MODULES |= {
    "Linear": ((3, 2), [(4, 3)]),
    "EnsembleLinear": ((2, 3, 2), [(4, 3)]),
    "EnsembleScale": ((2, 3), [(4, 3)]),
    "MLP": ((3, 4, 2), [(5, 3)]),
    "FusedMLP": ((3, 4, 2), [(5, 3)]),
    "PReLU": ((3,), [(4, 3)]),
    "GLU": ((), [(3, 4)]),
    "Softmax": ((-1,), [(4, 3)]),
    "LogSoftmax": ((-1,), [(4, 3)]),
    "CrossEntropyLoss": ((), [(4, 3), CLASSES]),
    "NLLLoss": ((), [(4, 3), CLASSES]),
    "KLDivLoss": ({"reduction": "batchmean"}, [(4, 3), PROBABILITIES]),
    "Embedding": ((5, 3), [("below 5", (4,))]),
    "PeriodicEmbedding": ((3, 2), [(4, 3)]),
    "Dropout": ((), [(4, 3)]),
    "Dropout1d": ((), [(2, 3, 2)]),
    "Dropout2d": ((), [(2, 3, 2, 2)]),
    "Dropout3d": ((), [(2, 3, 2, 1, 2)]),
    "LayerNorm": ((3,), [(4, 3)]),
    "RMSNorm": ((3,), [(4, 3)]),
    "BatchNorm1d": ((3,), [(4, 3)]),
    "BatchNorm2d": ((2,), [(2, 2, 2, 3)]),
    "BatchNorm3d": ((2,), [(2, 2, 2, 1, 2)]),
    "GroupNorm": ((2, 4), [(2, 4, 3)]),
    "InstanceNorm1d": ({"num_features": 2, "affine": True}, [(2, 2, 4)]),
    "InstanceNorm2d": ((2,), [(1, 2, 2, 3)]),
    "InstanceNorm3d": ((2,), [(1, 2, 2, 1, 2)]),
    "Conv1d": ((2, 3, 2), [(2, 2, 4)]),
    "Conv2d": ((2, 2, 2), [(1, 2, 3, 3)]),
    "Conv3d": ((1, 2, 2), [(1, 1, 2, 3, 2)]),
    "ConvTranspose1d": ((2, 3, 2), [(2, 2, 3)]),
    "ConvTranspose2d": ((2, 2, 2), [(1, 2, 2, 2)]),
    "ConvTranspose3d": ((1, 2, 2), [(1, 1, 2, 1, 2)]),
    "Flatten": ((), [(2, 3, 2)]),
    "MultiheadAttention": ({"embed_dim": 4, "num_heads": 2, "batch_first": True}, [(2, 3, 4)] * 3),
}
for d, plane in ((1, (5,)), (2, (5, 4)), (3, (4, 3, 2))):
    MODULES |= dict.fromkeys((f"MaxPool{d}d", f"AvgPool{d}d", f"AdaptiveAvgPool{d}d"), ((2,), [(1, 2, *plane)]))


def made(name):
    """The module, and the rows of its inputs: how each is drawn, and its shape."""
    arguments, shapes = MODULES[name]
    module = getattr(nn, name)
    module = module(**arguments) if isinstance(arguments, dict) else module(*arguments)
    return module, [shape if isinstance(shape[0], str) else ("normal", shape) for shape in shapes]
