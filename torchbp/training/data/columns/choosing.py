"""Which columns of a table are features, and of which kind."""

from torchbp.training.data.columns.kinds import find_columns
from torchbp.training.data.columns.survey import columns_left_out
from torchbp.training.errors import UserError


def feature_columns(names, settings):
    """Those of the names of a table's columns that may be features."""
    if settings.features:
        return list(settings.features)
    named = settings.columns_named()
    others = {name for setting in ("target", "id", "ignore", "weight", "group", "time") for name in named[setting]}
    return [name for name in names if name not in others]


def left_out_columns(rows, train, settings):
    """{name: why} of columns that are no features after all. rows: `Frames`. train: indices of the training rows."""
    if settings.features:
        return {}
    names = [name for name in feature_columns(rows.names, settings) if name not in settings.categorical]
    few, look = rows.look(train[:100], names), rows.look(train, names)
    blank = {
        name: "is blank in the training rows" for name in names if few[name].isna().all() and look[name].isna().all()
    }
    return blank | columns_left_out(rows.look(rows.rows_of(None), names))


def chosen_columns(rows, train, settings, left_out):
    """The `Columns` of the features, by the training rows."""
    names = [name for name in feature_columns(rows.names, settings) if name not in left_out]
    if not names:
        reasons = "".join(f"; {name!r} {why}" for name, why in list(left_out.items())[:3])
        raise UserError(f"{rows.name} has no feature beside the target {settings.targets[0]!r}{reasons}")
    return find_columns(
        rows.look(train, names),
        settings.categorical,
        settings.max_categories,
        rows.name,
        settings.missing,
        settings.na_values,
        settings.decimal,
    )
