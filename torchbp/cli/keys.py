"""The keys of a configuration, `--KEY VALUE`: which classes and functions have them as parameters.

It imports nothing of training, so that `--help` answers at once; see `signatures.py`.
"""

# group of keys: the class whose parameters they are
GROUPS = {
    "data": "torchbp.training.data.tabular:TabularData",
    "model": "torchbp.training.model.network:Network",
    "stopping": "torchbp.training.callbacks.stopping:UntilMinimum",
    "gradients": "torchbp.training.callbacks.gradient_monitor:GradientMonitor",
    "checkpoint": "torchbp.training.checkpoints.saving:BestAndLast",
}
# parameters of the model that are the data's, and no keys
LINKED = ("in_features", "classes", "columns", "task")

# of the trainer, where they are not Lightning's
TRAINER_DEFAULTS = {
    "logger": {
        "class_path": "pytorch_lightning.loggers.CSVLogger",
        "init_args": {"save_dir": "runs", "name": "run"},
    },
    "devices": 1,
    "max_epochs": 200,
    "log_every_n_steps": 1,
    "enable_model_summary": False,
    "enable_progress_bar": False,
}


# int first: to typing, Lightning's `int | str | None` is the same type, and takes the order of the first one made
def recipe_keys(recipe: str = "auto", budget: int | str | None = None):
    """The keys that choose how `fit` trains.

    Args:
        recipe: mlp, one network in seconds; pack, many that differ, of which the best together answer; article, the
            article's network; or auto, a pack for a table of yours, unless a setting is only of one network.
        budget: of a pack, the time that it is trained, such as 2m or 90 seconds, instead of a number of networks.
    """


def fit_keys(seed_everything: int = 0, ckpt_path: str | None = None):
    """The keys of `fit` that Lightning has.

    Args:
        seed_everything: seed of the first weights and of the order of the rows.
        ckpt_path: resume this run, the folder runs/NAME/version_N or its last.ckpt, with its settings.
    """


def evaluate_keys(ckpt_path: str):
    """The keys of `validate`, `test` and `predict` that Lightning has.

    Args:
        ckpt_path: the trained network, the folder runs/NAME/version_N of its run or a checkpoint.
    """


def trainer_keys(accelerator: str = "auto", devices: int | list[int] | str = 1, max_epochs: int | None = 200):
    """The keys of Lightning's Trainer that most runs need.

    Args:
        accelerator: cpu, gpu or auto.
        devices: how many of them, or which.
        max_epochs: training ends after so many epochs, whatever the loss does.
    """


def predict_keys(output: str = "predictions.csv", overwrite: bool = False):
    """The keys of `predict` alone.

    Args:
        output: the CSV or Parquet file to write.
        overwrite: whether to replace that file.
    """


def explain_keys(
    ckpt_path: str | None = None,
    row: int | None = None,
    y: list[str] | str | None = None,
    lr: float | None = None,
    layer: int | None = None,
    follow: str | None = None,
    weights: str | None = None,
    saturate: bool = False,
    descent: str = "plain",
    steps: int = 1,
    member: int | None = None,
    lesson: str | None = None,
    json: str | None = None,
    json_all: bool = False,
    html: str | None = None,
    latex: str | None = None,
    markdown: str | None = None,
    notebook: str | None = None,
    svg: str | None = None,
    seed_everything: int = 0,
):
    """The keys of `explain` alone.

    Args:
        ckpt_path: the trained network. By default it is a fresh one, and without data too that of xor.
        row: the row of the data, from 1. By default it is row 1, or all rows of at most 8.
        y: the class of the row, or its number, instead of its label.
        lr: the learning rate of the step, instead of model.lr.
        layer: print this layer alone, from 1.
        follow: print the ways from the loss to one number, factor by factor, such as W1[2,3], b1[2] or A1[1,3].
        weights: "zero" shows what would happen if all weights were 0.
        saturate: whether to show what would happen if the network were sure of a wrong answer.
        descent: "trained" takes the step of the training's optimizer, and not one of plain gradient descent.
        steps: how many steps to take: the first and the last are printed whole, and a line for each.
        member: which network of an ensemble, from 1, or of a pack.
        lesson: explain a lesson instead of rows of data: article, xor, makemore, convolution or attention.
        json: write the explanation to this file, as JSON.
        json_all: whether to write large tensors too, of more than 10,000 numbers.
        html: write the explanation to this file, as a page to step through.
        latex: write the explanation to this file, as a LaTeX document.
        markdown: write the explanation to this file, in Markdown.
        notebook: write the explanation to this file, as a Jupyter notebook.
        svg: write the drawing of the network to this file.
        seed_everything: seed of the weights of a fresh network.
    """
