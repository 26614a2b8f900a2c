"""What `engine: explicit` and ensembles refuse of Lightning: settings that would mean something else with them."""

from pytorch_lightning.strategies import SingleDeviceStrategy

from torchbp.training.errors import SettingError

ENGINES = ("autograd", "explicit")
WHOLE = ("32-true", "64-true", "bf16-true", "16-true")  # precisions in which nothing is cast on the way


def check_engine(trainer, data, classifier):
    """Raises a SettingError that names a setting of the trainer, and what to do, for one that cannot be honoured."""
    engine = classifier.hparams.engine
    at_once = data.at_once(engine) if hasattr(data, "at_once") else 1
    if engine == "explicit":
        check_explicit(trainer)
        if at_once > 1 and not trainer.fast_dev_run:
            check_counts(trainer, at_once)
    elif at_once > 1:
        raise SettingError(f"data.batches_at_once={at_once} is of model.engine explicit; leave it out for autograd")
    if classifier.groups > 1 and trainer.limit_val_batches == 0:
        raise SettingError("trainer.limit_val_batches=0: a sweep over model.lr needs the validation rows to choose by")
    if classifier.members and trainer.gradient_clip_val:
        raise SettingError(
            f"trainer.gradient_clip_val={trainer.gradient_clip_val} would take the members of an ensemble for one "
            "network; leave it out, or train one"
        )
    if classifier.members and trainer.precision == "16-mixed":
        raise SettingError(
            "trainer.precision=16-mixed skips a step of all members where one overflows; use bf16-mixed or 32-true"
        )


def check_explicit(trainer):
    if not isinstance(trainer.strategy, SingleDeviceStrategy):
        raise SettingError(
            f"model.engine=explicit trains in one process, and trainer.strategy here is "
            f"{type(trainer.strategy).__name__} with {trainer.world_size}; use model.engine autograd, or "
            "trainer.strategy auto and trainer.devices 1"
        )
    for name, value, honoured in (
        ("precision", trainer.precision, WHOLE),
        ("accumulate_grad_batches", trainer.accumulate_grad_batches, (1,)),
        ("gradient_clip_val", trainer.gradient_clip_val, (None, 0)),
    ):
        if value not in honoured:
            raise SettingError(
                f"trainer.{name}={value}: a step of model.engine explicit casts nothing and holds no gradient; leave "
                "it out, or use model.engine autograd"
            )


def check_counts(trainer, at_once):
    """Refuse what counts steps of Lightning's loop, where each is several of descent."""
    limit = trainer.limit_train_batches
    for name, value, honoured in (
        ("limit_train_batches", limit, limit == 0 or (isinstance(limit, float) and limit == 1)),
        ("max_steps", trainer.max_steps, trainer.max_steps == -1),
        ("min_steps", trainer.min_steps, trainer.min_steps is None),
        ("val_check_interval", trainer.val_check_interval, trainer.val_check_interval == 1.0),
    ):
        if not honoured:
            raise SettingError(
                f"trainer.{name}={value} counts steps of Lightning's loop, each of up to {at_once} batches here; add "
                "--data.batches_at_once 1, or leave it out"
            )
