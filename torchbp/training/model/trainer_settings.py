"""Settings of the Trainer that `engine: explicit` and ensembles refuse: they would mean something else there."""

from pytorch_lightning.strategies import SingleDeviceStrategy

from torchbp.training.errors import SettingError

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
    if model.groups > 1 and trainer.limit_val_batches == 0:
        raise SettingError(
            "trainer.limit_val_batches=0: a sweep over model.lr chooses by the validation loss; leave it out"
        )
    if model.members and trainer.gradient_clip_val:
        raise SettingError(
            f"trainer.gradient_clip_val={trainer.gradient_clip_val} would clip the gradient of all members together; "
            "leave it out, or train one network"
        )
    if model.members and trainer.precision == "16-mixed":
        raise SettingError(
            "trainer.precision=16-mixed skips a step of all members where one overflows; use bf16-mixed or 32-true"
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
            raise SettingError(
                f"trainer.{name}={value}: model.engine explicit casts no tensor and stores no gradient; leave it out, "
                "or use model.engine autograd"
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
