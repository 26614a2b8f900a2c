"""Packages of losses."""

import torch

from tests.testing.packages.subject import Subject, labels, numbers, positive, probabilities


def entmax():
    import entmax as package

    scores = lambda: numbers(3, 5)  # noqa: E731
    for name in ("sparsemax", "entmax15", "sparsemax_bisect", "entmax_bisect", "normmax_bisect", "budget_bisect"):
        yield Subject(name, getattr(package, name), scores())
    yield Subject(
        "entmax_bisect of alpha",
        lambda x, alpha: package.entmax_bisect(x, alpha),
        (scores(), positive(3, 1)),
        options={"domain": {"alpha": (1.1, 2.5)}},
    )
    for name in ("sparsemax_loss", "entmax15_loss", "sparsemax_bisect_loss", "entmax_bisect_loss"):
        yield Subject(name, getattr(package, name), (scores(), labels(3, 5)))


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


def fvcore():
    from fvcore.nn import ciou_loss, diou_loss, giou_loss, sigmoid_focal_loss, smooth_l1_loss

    boxes = lambda: torch.cat([numbers(3, 2) / 4, numbers(3, 2) / 4 + 2], dim=1).detach().requires_grad_()  # noqa: E731
    yield Subject(
        "sigmoid_focal_loss",
        lambda x, y: sigmoid_focal_loss(x, y, reduction="mean"),
        (numbers(3, 4), (numbers(3, 4) > 0).double().detach()),
    )
    yield Subject("smooth_l1_loss", lambda x, y: smooth_l1_loss(x, y, beta=0.5), (numbers(3, 4), numbers(3, 4)))
    for loss in (giou_loss, diou_loss, ciou_loss):
        yield Subject(loss.__name__, loss, (boxes(), boxes()))


def monai():
    from monai.losses import DiceLoss, FocalLoss, TverskyLoss
    from monai.networks.blocks import MemoryEfficientSwish

    target = (numbers(2, 3, 4, 4) > 0).double().detach()
    yield Subject("MemoryEfficientSwish", MemoryEfficientSwish(), numbers(3, 5))
    for loss in (DiceLoss(sigmoid=True), TverskyLoss(sigmoid=True), FocalLoss()):
        yield Subject(type(loss).__name__, loss, (numbers(2, 3, 4, 4), target))


def pytorch_metric_learning():
    from pytorch_metric_learning import losses

    for name in (
        "ContrastiveLoss",
        "TripletMarginLoss",
        "NTXentLoss",
        "CircleLoss",
        "MultiSimilarityLoss",
        "LiftedStructureLoss",
        "SupConLoss",
    ):
        yield Subject(name, getattr(losses, name)(), (numbers(6, 4), torch.tensor([0, 0, 1, 1, 2, 2])))


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


def pot():
    import ot

    yield Subject("emd2", lambda a, b, cost: ot.emd2(a, b, cost), (probabilities(4), probabilities(5), positive(4, 5)))
    yield Subject(
        "sinkhorn2",
        lambda a, b, cost: ot.sinkhorn2(a, b, cost, reg=0.5, stopThr=1e-12),
        (probabilities(4), probabilities(5), positive(4, 5)),
    )


def pysdtw():
    from pysdtw import SoftDTW

    loss = SoftDTW(gamma=1.0, use_cuda=False)
    yield Subject("SoftDTW", lambda x, y: loss(x, y), (numbers(2, 4, 3), numbers(2, 5, 3)))
