"""What a network is trained for: two classes, several, independent labels, or numbers. Each task has a file."""

from torchbp.training.errors import SettingError
from torchbp.training.tasks.binary import Binary
from torchbp.training.tasks.multiclass import Multiclass
from torchbp.training.tasks.multilabel import Multilabel
from torchbp.training.tasks.regression import Regression
from torchbp.training.tasks.task import Task

TASKS: dict[str, type[Task]] = {"binary": Binary, "multiclass": Multiclass, "multilabel": Multilabel,
                                "regression": Regression}  # fmt: skip
# metric of the validation rows: "min" or "max", whichever is best; not every task has each of them
METRICS = {name: best for task in TASKS.values() for name, best in task.metrics.items()}


def make_task(name: str, classes: list[str], **settings) -> Task:
    """The task with this name, and settings as `Task` takes them.

    Raises:
        SettingError: an unknown name, or a setting that the task does not have.
    """
    if name not in TASKS:
        raise SettingError(f"data.task={name!r} is not known; use {', '.join(TASKS)}")
    return TASKS[name](classes, **settings)
