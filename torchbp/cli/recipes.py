"""The recipes of `torchbp fit --recipe NAME`: settings that stand before all files and flags, which can change them."""

RECIPES = {
    "mlp": {},
    "article": {
        "model.hidden": "[16]",
        "model.activation": "sigmoid",
        "model.scaling": "standard",
        "model.optimizer": "sgd",
        "model.lr": "0.5",
        "model.weight_decay": "0.001",
        "stopping.min_grad_norm": "0.01",
        "stopping.monitor": "train/loss",
        "stopping.min_delta": "0.0001",
        "stopping.patience": "20",
    },
    "pack": {},
}
# what each is, and what for, in a line of `fit`
WHY = {
    "mlp": "one network, in seconds; --recipe pack trains many that differ, in minutes, and the best answer together",
    "article": "16 sigmoid units and plain gradient descent, to learn from; --recipe mlp is for better scores",
    "pack": "networks that differ, in minutes; the best of them answer together",
}
