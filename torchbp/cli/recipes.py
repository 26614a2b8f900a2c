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
# what the survey says of a recipe that was asked for
WHY = {
    "mlp": "one network of 64-64 units, trained in seconds by AdamW",
    "article": "the article's network and rule, 16 sigmoid units and plain gradient descent: to learn from",
    "pack": "networks that differ, of which the best together answer: the best scores, in minutes",
}
