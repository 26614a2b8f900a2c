"""The activations as modules. Their equations are in `torchbp/ops/`."""

import torch

from torchbp import ops
from torchbp.ops.registry import activation, implements, rules
from torchbp.ops.rules import Layer

LAYERS = rules(Layer)


@implements(activation("sigmoid"))
class Sigmoid(torch.nn.Sigmoid):
    """`torch.nn.Sigmoid` with its backward written out: `A = σ(Z)`, `dZ = dA ∘ A ∘ (1 − A)`. Any shape to the same.

    Example:
        >>> torchbp.nn.Sigmoid()(torch.zeros(2))  # tensor([0.5, 0.5])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.sigmoid(input)


@implements(activation("tanh"))
class Tanh(torch.nn.Tanh):
    """`torch.nn.Tanh` with its backward written out: `A = tanh(Z)`, `dZ = dA ∘ (1 − A²)`. Any shape to the same.

    Example:
        >>> torchbp.nn.Tanh()(torch.zeros(2))  # tensor([0., 0.])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.tanh(input)


@implements(activation("relu"))
class ReLU(torch.nn.ReLU):
    """`torch.nn.ReLU` with its backward written out: `A = max(Z, 0)`, `dZ = dA ∘ [A > 0]`. Any shape to the same.

    With `inplace=True` it is torch's own operation; see `torchbp.ops.relu`.

    Example:
        >>> torchbp.nn.ReLU()(torch.tensor([-1.0, 2.0]))  # tensor([0., 2.])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.relu(input, inplace=self.inplace)


@implements(activation("gelu"))
class GELU(torch.nn.GELU):
    """`torch.nn.GELU` with its backward written out: `A = Z Φ(Z)`, `dZ = dA ∘ (Φ(Z) + Z φ(Z))`. Any shape to the same.

    Example:
        >>> torchbp.nn.GELU()(torch.tensor([-1.0, 2.0]))  # tensor([-0.1587,  1.9545])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.gelu(input, approximate=self.approximate)


@implements(activation("silu"))
class SiLU(torch.nn.SiLU):
    """`torch.nn.SiLU` with its backward written out: `A = Z σ(Z)`, `dZ = dA ∘ σ(Z) (1 + Z σ(−Z))`.

    Any shape to the same.

    With `inplace=True` it is torch's own operation; see `torchbp.ops.relu`.

    Example:
        >>> torchbp.nn.SiLU()(torch.tensor([-1.0, 2.0]))  # tensor([-0.2689,  1.7616])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.silu(input, inplace=self.inplace)


@implements(activation("mish"))
class Mish(torch.nn.Mish):
    """`torch.nn.Mish` with its backward written out: `A = Z tanh(softplus(Z))`, its derivative without cancellation.

    Any shape to the same.

    With `inplace=True` it is torch's own operation; see `torchbp.ops.relu`.

    Example:
        >>> torchbp.nn.Mish()(torch.tensor([-1.0, 2.0]))  # tensor([-0.3034,  1.9440])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.mish(input, inplace=self.inplace)


@implements(activation("softplus"))
class Softplus(torch.nn.Softplus):
    """`torch.nn.Softplus` with its backward written out: `A = ln(1 + e^(βZ)) / β`, `dZ = dA ∘ σ(βZ)`.

    Any shape to the same.

    Example:
        >>> torchbp.nn.Softplus()(torch.zeros(2))  # tensor([0.6931, 0.6931])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.softplus(input, self.beta, self.threshold)


@implements(activation("elu"))
class ELU(torch.nn.ELU):
    """`torch.nn.ELU` with its backward written out: `A = Z` or `α (e^Z − 1)`, `dZ = dA ∘ ([Z > 0] + α e^Z [Z ≤ 0])`.

    Any shape to the same.

    With `inplace=True` it is torch's own operation; see `torchbp.ops.relu`.

    Example:
        >>> torchbp.nn.ELU()(torch.tensor([-1.0, 2.0]))  # tensor([-0.6321,  2.0000])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.elu(input, self.alpha, self.inplace)


@implements(activation("selu"))
class SELU(torch.nn.SELU):
    """`torch.nn.SELU` with its backward written out: `A = λ elu(Z; α)`, `dZ = dA ∘ λ ([Z > 0] + α e^Z [Z ≤ 0])`.

    Any shape to the same.

    With `inplace=True` it is torch's own operation; see `torchbp.ops.relu`.

    Example:
        >>> torchbp.nn.SELU()(torch.tensor([-1.0, 2.0]))  # tensor([-1.1113,  2.1014])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.selu(input, self.inplace)


@implements(activation("leaky_relu"))
class LeakyReLU(torch.nn.LeakyReLU):
    """`torch.nn.LeakyReLU` with its backward written out: `A = Z` or `s Z`, `dZ = dA ∘ ([Z > 0] + s [Z ≤ 0])`.

    Any shape to the same.

    With `inplace=True` it is torch's own operation; see `torchbp.ops.relu`.

    Example:
        >>> torchbp.nn.LeakyReLU()(torch.tensor([-1.0, 2.0]))  # tensor([-0.0100,  2.0000])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.leaky_relu(input, self.negative_slope, self.inplace)


@implements(activation("hardswish"))
class Hardswish(torch.nn.Hardswish):
    """`torch.nn.Hardswish` with its backward written out: `A = Z ∘ min(max(Z + 3, 0), 6) / 6`. Any shape to the same.

    With `inplace=True` it is torch's own operation; see `torchbp.ops.relu`.

    Example:
        >>> torchbp.nn.Hardswish()(torch.tensor([-4.0, 1.0, 4.0]))  # tensor([-0.0000, 0.6667, 4.0000])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.hardswish(input, self.inplace)


@implements(activation("hardsigmoid"))
class Hardsigmoid(torch.nn.Hardsigmoid):
    """`torch.nn.Hardsigmoid` with its backward written out: `A = min(max(Z + 3, 0), 6) / 6`. Any shape to the same.

    With `inplace=True` it is torch's own operation; see `torchbp.ops.relu`.

    Example:
        >>> torchbp.nn.Hardsigmoid()(torch.tensor([-4.0, 0.0, 4.0]))  # tensor([0.0000, 0.5000, 1.0000])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.hardsigmoid(input, self.inplace)


@implements(activation("logsigmoid"))
class LogSigmoid(torch.nn.LogSigmoid):
    """`torch.nn.LogSigmoid` with its backward written out: `A = ln σ(Z)`, `dZ = dA ∘ σ(−Z)`. Any shape to the same.

    Example:
        >>> torchbp.nn.LogSigmoid()(torch.tensor([0.0, -100.0]))  # tensor([  -0.6931, -100.0000])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.logsigmoid(input)


@implements(LAYERS["softmax"])
class Softmax(torch.nn.Softmax):
    """`torch.nn.Softmax` with its backward written out: `A = e^X / Σ e^X`, `dX = A ∘ (dA − Σ dA ∘ A)`.

    Example:
        >>> torchbp.nn.Softmax(0)(torch.tensor([0.0, 0.0, 1.0]))  # tensor([0.2119, 0.2119, 0.5761])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.softmax(input, self.dim, _stacklevel=5)


@implements(LAYERS["log_softmax"])
class LogSoftmax(torch.nn.LogSoftmax):
    """`torch.nn.LogSoftmax` with its backward written out: `A = X − ln Σ e^X`, `dX = dA − e^A ∘ Σ dA`.

    Example:
        >>> torchbp.nn.LogSoftmax(0)(torch.zeros(2))  # tensor([-0.6931, -0.6931])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.log_softmax(input, self.dim, _stacklevel=5)


@implements(LAYERS["glu"])
class GLU(torch.nn.GLU):
    """`torch.nn.GLU` with its backward written out: `Z = P ∘ σ(Q)` of the halves of X, `dX = [dZ ∘ σ(Q), dZ ∘ P ∘
    σ(Q) ∘ σ(−Q)]`.

    Example:
        >>> torchbp.nn.GLU()(torch.tensor([2.0, 0.0]))  # tensor([1.])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.glu(input, self.dim)


@implements(LAYERS["prelu"])
class PReLU(torch.nn.PReLU):
    """`torch.nn.PReLU` with its backward written out: `Z = X` or `a X`, with a that is learnt, `da = Σ dZ ∘ X ∘ [X ≤
    0]`.

    Example:
        >>> torchbp.nn.PReLU()(torch.tensor([-1.0, 2.0]))  # tensor([-0.2500,  2.0000])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.prelu(input, self.weight)
