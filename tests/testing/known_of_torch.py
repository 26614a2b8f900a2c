"""What the auditor finds in torch's own operators, and why: {operator: {check: reason}}.

A reason begins with "defect" or "convention". `test_torch_operators.py` shows some of the defects in plain torch.
"""

_RANK = "convention: the factors have no derivative where the matrix has no full rank"
_STATISTICS = "convention: running statistics are written into, as the operator says"
_SIZES = "defect: the kernel reads beyond statistics of another size, and ends the process"
_CTC = "convention: the gradient is that of log-probabilities, whose exponentials add up to 1"
_VIEW = "convention: it reads the memory of its input by strides"

_TRIANGLE = "convention: the factor is a triangle, and the entries beyond it are not read"
_FORWARD = "defect: the forward-mode derivative is not that of the backward"
_RANGE = "convention: the derivative is beyond the range of the numbers"
_MEDIAN = "defect: of an expanded tensor it gives uninitialised memory"
_REPEATED = "convention: indices that repeat"
_TIES = "convention: numbers that are equal share the gradient of their extreme"
_ONE_NUMBER = "convention: of one number nothing but rounding errors is left"
_BOUNDED_NORM = "defect: where a norm is less than eps, the gradient is that of the norm, which eps has replaced"
_EQUAL = "convention: of equal numbers each of two layer norms multiplies by 316, which together is beyond float16"
_NORM = "defect: the cube of 1/√eps overflows in float16, and 0 times that is nan"

KNOWN = {
    "cholesky_inverse": {"extremes": _TRIANGLE, "magnitudes": _TRIANGLE, "jvp": _FORWARD},
    "cholesky_solve": {"extremes": _TRIANGLE, "magnitudes": _TRIANGLE},
    "cdist": {"batched_grad": "defect: its backward under torch.func.vmap gives wrong numbers"},
    "cov": {"extremes": _RANGE},
    "lu_unpack": {"shapes": "defect: the kernel does not look at the number of pivots, and ends the process"},
    "median": {"layouts": _MEDIAN},
    "nanmedian": {"layouts": _MEDIAN},
    "nn.functional.normalize": {"extremes": _RANGE, "dtypes": _RANGE},
    "nn.functional.soft_margin_loss": {"extremes": "defect: ln(1 + exp(−y x)) overflows, of float32 from 89 on"},
    "nn.functional.max_pool3d": {"layouts": "defect: the backward raises where the incoming gradient is channels last"},
    "nn.functional.max_unpool1d": {"values": _REPEATED},
    "nn.functional.max_unpool2d": {
        "values": _REPEATED,
        "layouts": "defect: the backward raises where the indices have a stride",
    },
    "sparse.sampled_addmm": {"second_order": "defect: the double backward raises an error of another layout"},
    "as_strided": {"layouts": _VIEW, "vmap": _VIEW},
    "index_reduce.amin": {"extremes": _TIES},
    "index_reduce.amax": {"extremes": _TIES},
    "as_strided_copy": {"layouts": _VIEW, "vmap": _VIEW},
    "_batch_norm_with_update": {
        "side_effects": _STATISTICS,
        "variations": _STATISTICS,
        "shapes": _SIZES,
        "process": _SIZES,
    },
    "_native_batch_norm_legit": {"side_effects": _STATISTICS, "variations": _STATISTICS, "shapes": _SIZES},
    "native_batch_norm": {"side_effects": _STATISTICS, "variations": _STATISTICS, "shapes": _SIZES},
    "nn.functional.batch_norm": {"side_effects": _STATISTICS},
    "nn.functional.instance_norm": {"side_effects": _STATISTICS},
    "native_group_norm": {
        "linearity": "defect: with undefined gradients of the other outputs the input's gradient differs",
        "layouts": "defect: a weight with a stride is read as if it had none",
        "extremes": _NORM,
    },
    "native_layer_norm": {
        "second_order": "defect: with a bias and no weight the double backward raises",
        "dtypes": _ONE_NUMBER,
        "vmap": _ONE_NUMBER,
    },
    "_segment_reduce.offsets": {
        "shapes": "defect: no rows end the process",
        "variations": "defect: the kernel does not look at the offsets, and ends the process",
    },
    "nn.functional.cosine_similarity": {
        "magnitudes": _BOUNDED_NORM,
        "extremes": _BOUNDED_NORM,
        "values": _BOUNDED_NORM,
    },
    "sparse.mm.reduce": {
        "second_order": "defect: the double backward raises an error of another layout",
        "shapes": "defect: the kernel does not look at the sizes, and ends the process",
    },
    "as_strided.partial_views": {"layouts": _VIEW, "vmap": _VIEW, "refused": _VIEW},
    "as_strided_scatter": {"values": "convention: entries that are written twice", "layouts": _VIEW},
    "lu": {"extremes": _RANK},
    "qr": {"extremes": _RANK},
    "linalg.lu": {"extremes": _RANK},
    "linalg.lu_factor_ex": {"extremes": _RANK},
    "linalg.qr": {"extremes": _RANK},
    "linalg.eig": {"extremes": _RANK},
    "linalg.eigh": {"extremes": _RANK},
    "linalg.eigvals": {"extremes": _RANK},
    "svd_lowrank": {"extremes": _RANK, "dtypes": "defect: in bfloat16 it multiplies with random numbers of float32"},
    "pca_lowrank": {"extremes": _RANK, "dtypes": "defect: in bfloat16 it multiplies with random numbers of float32"},
    "linalg.cholesky_ex": {
        "extremes": "convention: the matrix is not positive definite, which `info` says",
        "magnitudes": "convention: the matrix is not positive definite, which `info` says",
    },
    "ormqr": {
        "extremes": "convention: the reflectors and their factors do not belong together",
        "magnitudes": "convention: the reflectors and their factors do not belong together",
    },
    "linalg.householder_product": {
        "extremes": "convention: the reflectors and their factors do not belong together",
        "magnitudes": "convention: the reflectors and their factors do not belong together",
    },
    "linalg.pinv": {"autocast": "defect: a backward after a forward under autocast mixes dtypes, and raises"},
    "linalg.pinv.hermitian": {"autocast": "defect: a backward after a forward under autocast mixes dtypes, and raises"},
    "linalg.vector_norm": {"extremes": "defect: the squares of small numbers are 0, and so is the gradient"},
    "matrix_exp": {"extremes": "defect: in bfloat16 the gradient is uninitialised memory"},
    "logcumsumexp": {"dtypes": "defect: in bfloat16 the gradient is far off where numbers differ by much"},
    "nn.functional.linear_cross_entropy.chunked": {
        "second_order": "defect: the second derivative is zero, silently",
        "vmap": "defect: the gradient of a shared input is wrong",
    },
    "nn.functional.linear_cross_entropy.chunked_none": {
        "second_order": "defect: the double backward raises",
    },
    "nn.functional.max_unpool3d": {
        "values": _REPEATED,
        "layouts": "defect: the backward raises where the indices have a stride",
    },
    "nn.functional.max_unpool3d.grad": {"layouts": "defect: the backward raises where the indices have a stride"},
    "nn.functional.rrelu": {"checkpointing": "defect: under a checkpoint the gradient is uninitialised memory"},
    "nn.functional.binary_cross_entropy": {
        "extremes": "defect: the loss is bounded at the probability 0, and the gradient of its target is infinite"
    },
    "nn.functional.softshrink": {"extremes": "defect: with lambd = 0 it is the identity, whose gradient at 0 is not 0"},
    "nn.functional.poisson_nll_loss": {
        "extremes": "defect: nan from the inactive branch of Stirling's term",
        "magnitudes": "defect: nan from the inactive branch of Stirling's term",
    },
    "nn.functional.ctc_loss": {
        "values": _CTC,
        "extremes": _CTC,
    },
    "polar": {
        "magnitudes": "defect: for a negative radius the gradient has the wrong sign",
        "extremes": "defect: the squares of small numbers are 0, and so is the gradient",
    },
    "select_scatter": {"vmap": "defect: the gradient of what is scattered is multiplied by the size"},
    "scatter_reduce.prod": {"hessian": "defect: no forward-mode tangent, and no error"},
    "to_sparse": {"extremes": "convention: entries that are 0 are dropped"},
    "normal": {
        "values": "convention: the gradients of mean and standard deviation are zero",
        "jvp": "defect: forward mode raises where mean and standard deviation broadcast",
    },
    "fmod": {"extremes": _RANGE},
    "remainder": {"extremes": _RANGE},
    "__rmod__": {"extremes": _RANGE},
    "index_fill": {"vmap": "defect: over the value, every sample gets that of the last one"},
    "grid_sampler_2d": {
        "extremes": "defect: with the padding border or reflection a nan in the grid ends the process, in the backward"
    },
    "masked.median": {"layouts": _MEDIAN},
    "masked.std": {"extremes": "convention: the standard deviation has a kink where all numbers are equal"},
    "__rpow__": {"values": "convention: the sample has no finite output"},
    "normal.number_mean": {"values": "convention: the sample has no input with a gradient"},
    "nn.LPPool3d": {"values": "convention: a sample has no finite output"},
    "nn.KLDivLoss": {"values": "convention: a sample is the logarithm of negative numbers"},
    "nn.SoftMarginLoss": {"extremes": "defect: ln(1 + exp(−y x)) overflows, of float32 from 89 on"},
    "nn.NLLLoss": {"layouts": "defect: of transposed images the backward raises “grad_input must be contiguous”"},
    "nn.BCELoss": {"extremes": "defect: in float16 the least denominator, 1e-12, is 0, and the gradient at 0 is 0/0"},
    "nn.CTCLoss": {"values": _CTC, "extremes": _CTC},
    "nn.GELU": {"extremes": "defect: 1 + erf(x/√2) is 0 in float32 from x = −5.5 on, and 2e-8 is lost"},
    "nn.TransformerEncoderLayer": {"extremes": _EQUAL},
    "nn.Transformer": {"extremes": _EQUAL},
} | {
    f"nn.Lazy{kind}{dims}d": {"refused": "convention: parameters have no shape before the first call"}
    for kind in ("Conv", "ConvTranspose")
    for dims in (1, 2, 3)
}
