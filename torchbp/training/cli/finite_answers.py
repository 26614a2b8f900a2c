"""A network answers with finite numbers, or its command ends with an error."""

from torchbp.training.errors import UserError


def check_finite(answers, rows, source):
    """Refuse answers `(N, outputs)` of which one is nan or infinite. rows: how many rows came before them."""
    bad = ~answers.isfinite().all(dim=1)
    if bad.any():
        first = int(bad.nonzero()[0])
        value = answers[first][~answers[first].isfinite()][0].item()
        raise UserError(
            f"{source}: the network's answer to row {rows + first + 1} under the header is {value}; one of its "
            "values is too far from those of the training rows, or the network's weights are too large"
        )
