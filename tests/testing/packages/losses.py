"""Packages of losses."""

import torch

from tests.testing.packages.subject import NO_GRAPH, Subject, labels, numbers, positive


def entmax():
    import entmax as package

    scores = lambda: numbers(3, 5)  # noqa: E731
    vanishing = {"second_order": "defect: the double backward gives nan where the output is 0"}
    beyond = {"variations": "convention: alpha = 1 is beyond its domain"}
    known = {"entmax15": vanishing, "entmax_bisect": vanishing, "normmax_bisect": beyond}
    for name in ("sparsemax", "entmax15", "sparsemax_bisect", "entmax_bisect", "normmax_bisect", "budget_bisect"):
        yield Subject(name, getattr(package, name), scores(), known.get(name, {}))
    yield Subject(
        "entmax_bisect of alpha",
        lambda x, alpha: package.entmax_bisect(x, alpha),
        (scores(), (positive(3, 1) + 0.7).detach().requires_grad_()),
        vanishing
        | {
            "memory": "defect: alpha is kept on ctx: altered in place, it gives a wrong gradient and no error",
            "precision": "convention: in bfloat16 the gradient of alpha, a difference, is far off",
        },
        {"domain": {"alpha": (1.1, 2.5)}},
    )
    for name in ("sparsemax_loss", "entmax15_loss", "sparsemax_bisect_loss", "entmax_bisect_loss"):
        yield Subject(name, getattr(package, name), (scores(), labels(3, 5)), {"second_order": NO_GRAPH})


def sparsemax():
    from sparsemax import Sparsemax

    yield Subject("Sparsemax", Sparsemax(dim=-1), numbers(3, 5))


def kornia():
    from kornia.losses import binary_focal_loss_with_logits, dice_loss, focal_loss, ssim_loss, tversky_loss

    images, masks = numbers(2, 3, 4, 4), torch.randint(3, (2, 4, 4))
    yield Subject("focal_loss", lambda x, y: focal_loss(x, y, alpha=0.5, reduction="mean"), (images, masks))
    yield Subject(
        "binary_focal_loss_with_logits",
        lambda x, y: binary_focal_loss_with_logits(x, y),
        (numbers(2, 3), (numbers(2, 3) > 0).double().detach()),
    )
    yield Subject("dice_loss", dice_loss, (images, masks))
    yield Subject("tversky_loss", lambda x, y: tversky_loss(x, y, 0.5, 0.5), (images, masks))
    yield Subject("ssim_loss", lambda x, y: ssim_loss(x, y, 3), (positive(1, 1, 5, 5), positive(1, 1, 5, 5)))


def monai():
    from monai.losses import DiceLoss, FocalLoss, TverskyLoss
    from monai.networks.blocks import MemoryEfficientSwish

    target = (numbers(2, 3, 4, 4) > 0).double().detach()
    yield Subject("MemoryEfficientSwish", MemoryEfficientSwish(), numbers(3, 5))
    for loss in (DiceLoss(sigmoid=True), TverskyLoss(sigmoid=True), FocalLoss()):
        yield Subject(type(loss).__name__, loss, (numbers(2, 3, 4, 4), target))


def lightly():
    from lightly.loss import BarlowTwinsLoss, NegativeCosineSimilarity, NTXentLoss, VICRegLoss

    for loss in (NTXentLoss(), BarlowTwinsLoss(), VICRegLoss(), NegativeCosineSimilarity()):
        yield Subject(type(loss).__name__, loss, (numbers(4, 5), numbers(4, 5)))


def pytorch_msssim():
    from pytorch_msssim import ssim

    images = lambda: torch.rand(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)  # noqa: E731
    yield Subject(
        "ssim", lambda x, y: ssim(x, y, data_range=1.0, win_size=5), (images(), images()), options={"domain": (0, 1)}
    )


def auraloss():
    from auraloss.time import ESRLoss, LogCoshLoss, SISDRLoss

    for loss in (ESRLoss(), LogCoshLoss(), SISDRLoss()):
        known = {"extremes": "defect: cosh overflows, of float32 from 89 on"} if isinstance(loss, LogCoshLoss) else {}
        yield Subject(type(loss).__name__, loss, (numbers(2, 1, 8), numbers(2, 1, 8)), known)
