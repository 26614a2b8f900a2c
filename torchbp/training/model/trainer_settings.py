"""Settings of the Trainer that `engine: explicit` and ensembles refuse: they would mean something else there."""

from pytorch_lightning.strategies import SingleDeviceStrategy

from torchbp.training.errors import SettingError
from torchbp.training.scores.evaluation import monitors

WITHOUT_CASTS = ("32-true", "64-true", "bf16-true", "16-true")  # precisions in which all tensors have one dtype


def check_trainer_settings(trainer, data, model):
    """Raise a SettingError for a setting that this network cannot be trained with; it names the remedy."""
    engine = model.hparams.engine
    at_once = data.batches_in_a_step(engine) if hasattr(data, "batches_in_a_step") else 1
    if engine == "explicit":
        _check_explicit(trainer)
        if at_once > 1 and not trainer.fast_dev_run:
            _check_counts(trainer, at_once)
    elif at_once > 1:
        raise SettingError(f"data.batches_at_once={at_once} needs model.engine explicit; leave it out for autograd")
    _check_monitors(trainer, model)
    _check_schedule(trainer, model.hparams)
    if model.hparams.norm == "batch" and data is not None:
        _check_last_batch(trainer, data)
    if model.groups > 1 and trainer.limit_val_batches == 0:
        raise SettingError(
            "trainer.limit_val_batches=0: a sweep over model.lr chooses by the validation loss; leave it out"
        )
    if model.members and trainer.gradient_clip_val:
        raise SettingError(
            f"trainer.gradient_clip_val={trainer.gradient_clip_val} would clip the gradient of all members together; "
            f"use model.clip {trainer.gradient_clip_val}, which clips each"
        )
    if model.members and trainer.precision == "16-mixed":
        raise SettingError(
            "trainer.precision=16-mixed skips a step of all members where one overflows; use bf16-mixed or 32-true"
        )


def _check_monitors(trainer, model):
    """Refuse a watched score that the task does not have."""
    for name in sorted(monitors(trainer)):
        split, _, score = name.partition("/")
        if split == "val" and score not in model.task.metrics:
            known = ", ".join(f"val/{score}" for score in model.task.metrics)
            raise SettingError(f"monitor={name}: the task {model.task.name} has no such score; use train/loss, {known}")


def _check_schedule(trainer, h):
    if h.schedule in ("cosine", "one_cycle") and trainer.max_epochs < 0:
        raise SettingError(
            f"model.schedule={h.schedule} ends with the last epoch, and trainer.max_epochs={trainer.max_epochs} has "
            "none; set it"
        )
    if 0 <= trainer.max_epochs <= h.warmup and h.warmup:
        raise SettingError(
            f"model.warmup={h.warmup:g} epochs leave none of trainer.max_epochs={trainer.max_epochs}; use fewer"
        )
    if h.schedule == "plateau" and trainer.limit_val_batches == 0:
        raise SettingError(
            "trainer.limit_val_batches=0: model.schedule=plateau watches the validation loss; leave it out"
        )


def _check_last_batch(trainer, data):
    """A batch norm needs two rows in each process."""
    rows = len(data.rows("train")[0])
    last = rows % data.rows_of_a_step(trainer) or data.rows_of_a_step(trainer)
    if min(last, rows) < 2 * trainer.world_size:
        raise SettingError(
            f"model.norm=batch needs two rows in each batch and process, and the last batch has {last}; change "
            f"data.batch_size={data.batch_size}"
        )


def _check_explicit(trainer):
    if not isinstance(trainer.strategy, SingleDeviceStrategy):
        raise SettingError(
            f"model.engine=explicit trains in one process, and trainer.strategy here is "
            f"{type(trainer.strategy).__name__} with {trainer.world_size}; use model.engine autograd, or "
            "trainer.strategy auto and trainer.devices 1"
        )
    for name, value, supported in (
        ("precision", trainer.precision, WITHOUT_CASTS),
        ("accumulate_grad_batches", trainer.accumulate_grad_batches, (1,)),
        ("gradient_clip_val", trainer.gradient_clip_val, (None, 0)),
    ):
        if value not in supported:
            remedy = f"use model.clip {value}" if name == "gradient_clip_val" else "use model.engine autograd"
            raise SettingError(
                f"trainer.{name}={value}: model.engine explicit casts no tensor and stores no gradient; leave it out, "
                f"or {remedy}"
            )


def _check_counts(trainer, at_once):
    """Refuse settings that count steps of Lightning's loop, where each of them holds several batches."""
    limit = trainer.limit_train_batches
    for name, value, harmless in (
        ("limit_train_batches", limit, limit == 0 or (isinstance(limit, float) and limit == 1)),
        ("max_steps", trainer.max_steps, trainer.max_steps == -1),
        ("min_steps", trainer.min_steps, trainer.min_steps is None),
        ("val_check_interval", trainer.val_check_interval, trainer.val_check_interval == 1.0),
    ):
        if not harmless:
            raise SettingError(
                f"trainer.{name}={value} counts steps of Lightning's loop, and here each of them holds up to {at_once} "
                "batches; add --data.batches_at_once 1, or leave it out"
            )
