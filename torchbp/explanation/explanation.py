"""`torchbp.explain`: one step of gradient descent, every quantity of it by formula, shape and number, and checked."""

import math
from collections.abc import Iterable
from typing import Any

import torch

from torchbp.engine.losses import value_and_derivative
from torchbp.explanation import arguments
from torchbp.explanation.checks import checked
from torchbp.explanation.network import Chain
from torchbp.explanation.observations import observations
from torchbp.explanation.quantities import d
from torchbp.explanation.records import Record, sentence
from torchbp.explanation.render.text import as_text
from torchbp.explanation.step import TrainingStep


@torch.inference_mode(False)  # the checks differentiate
@torch.no_grad()
def explain(
    model: torch.nn.Module,
    x: Any,
    y: Any,
    lr: float = 0.1,
    loss: torch.nn.Module | None = None,
    title: str = "",
    features: Iterable[str] = (),
    outputs: Iterable[str] = (),
    unscaled: Any = None,
) -> "Explanation":
    r"""One step of backpropagation and gradient descent, explained; it changes neither the model nor any `.grad`.

        Z1 = X W1ᵀ + b1,  A1 = σ(Z1),  …,  L;   dL/dA2,  dL/dZ2,  dL/dW2,  …,  dL/db1;   W′ = W − α dL/dW;   and again

    Args:
        model: an `MLP`, or a `torch.nn.Sequential` of layers and activations that have a rule: Linear, Sigmoid, Tanh
            and ReLU, ours or torch's, and those that you have made.
        x: a row, shape `(in_features)`, or rows, `(N, in_features)`: a tensor, an array or a list. It, y and the loss's
            weights are taken in the dtype and on the device of the model.
        y: its target `(outputs)`, or theirs, `(N, outputs)`. N is the number of rows throughout, K that of outputs.
        lr: the learning rate α, a number.
        loss: a loss that has a rule, with reduction "mean" or "sum": `BCEWithLogitsLoss`, `BCELoss` or `MSELoss`, of
            torch or torchbp, or one that you have made. None is the cross-entropy: `BCELoss` where the model ends with
            a Sigmoid, otherwise `BCEWithLogitsLoss`.
        title: of the text and the page.
        features, outputs: names of the columns of x and y: of the numbers that go in, and of what the answers are the
            probability of.
        unscaled: x before it was scaled, in the same shape, which is printed beside it; None where it was not.

    Returns:
        An `Explanation`: its `records`, one for each quantity in that order; print it, or write its `to_html()` to a
        file.

    Raises:
        TypeError: an ensemble; a layer, hook or loss that is not supported; layers that share weights; probabilities
            for a loss that the model does not give; what is no real number, a title no text, names no list.
        ValueError: layers, an x, a y or a loss's weight whose shapes do not fit; a model of several dtypes or devices;
            a y that is no probability where the loss takes one; an lr that is not positive; nan or inf in any of them;
            names of another number of columns.

    Example:
        >>> net = torchbp.nn.MLP(2, 4, 1)
        >>> print(torchbp.explain(net, [[0.0, 1.0]], [[1.0]], lr=0.5))
    """
    chain = Chain(model)
    arguments.check_parameters(chain)
    loss = arguments.supported_loss(loss, chain)
    x, y = arguments.rows(chain, x, y)
    loss, lr = arguments.fitted_loss(loss, y), arguments.rate(lr, x.dtype)
    title, features, outputs = arguments.texts(title, features, outputs, chain)
    unscaled = arguments.unscaled_rows(unscaled, x)
    with torch.autocast(x.device.type, enabled=False):
        step = TrainingStep(chain, loss, x, y, lr)
        return Explanation(step, checked(step), title, features, outputs, unscaled)


class Explanation:
    """One step of gradient descent: its `records` in order, each also by its name, `explanation["dL/dW1"]`.

    records: a list of `Record`.
    lr: the learning rate. loss, new_loss: L before and after the step, numbers.
    updated: the parameters after the step by their keys in the model's state_dict, tensors.
    observations: what there is to see, in sentences: units that learn the same, saturation, a vanishing gradient.
    """

    def __init__(
        self,
        step: Any,
        records: list[Record],
        title: str,
        features: list[str],
        outputs: list[str],
        unscaled: torch.Tensor | None = None,
    ) -> None:
        self.step, self.records, self.title = step, records, title
        self.features, self.outputs, self.unscaled = features, outputs, unscaled
        self.chain, self.values, self.lr = step.chain, step.values, step.lr
        self.by_name = {record.name: record for record in records}
        self.loss, self.new_loss = self["L"].tensor.item(), self["L′"].tensor.item()
        self.updated = {self.chain.keys[q.name]: self[q.after().name].tensor for q in step.learnt}
        self.observed = observations(self)

    def __getitem__(self, name: str) -> Record:
        return self.by_name[name]

    @property
    def observations(self) -> list[str]:
        return [sentence(parts) for parts in self.observed]

    @torch.no_grad()
    def loss_after(self, lr: float) -> float:
        """L after a step of another length along the same gradient, a number."""
        if lr > torch.finfo(self.values["X"].dtype).max:  # torch does not convert it
            return math.inf
        new = dict(self.chain.start)
        for quantity in self.step.learnt:
            new[quantity.name] = new[quantity.name].add(self.values[d(quantity).name], alpha=-lr)
        output = self.chain.forward(new, self.values["X"])[self.chain.output.name]
        return value_and_derivative(self.step.loss, output, self.values["y"])[0].item()

    def squared_norm(self) -> float:
        """‖∇L‖², over all parameters that learn: how fast L falls at first, per unit of α."""
        return sum(self.values[d(q).name].double().square().sum().item() for q in self.step.learnt)

    def norms(self) -> list[float]:
        """‖dL/dZ‖ of each layer that the gradient comes to, from the first to the last."""
        steps = [step for step in self.chain.steps[self.chain.first :] if step.is_layer]
        return [self.values[d(step.gives).name].double().norm().item() for step in steps]

    def to_text(self, layer: int | None = None) -> str:
        """The explanation in lines of at most 80 characters; of one layer, by its number, or of all."""
        return as_text(self, layer)

    def to_json(self) -> str:
        """The explanation as text in JSON."""
        from torchbp.explanation.render.to_json import as_json

        return as_json(self)

    def to_markdown(self) -> str:
        """The explanation in Markdown, its equations in LaTeX."""
        from torchbp.explanation.render.markdown import markdown

        return markdown(self)

    def to_latex(self) -> str:
        """The explanation as a document for pdfLaTeX, XeLaTeX or LuaLaTeX."""
        from torchbp.explanation.render.latex_document import latex_document

        return latex_document(self)

    def to_notebook(self) -> str:
        """The explanation as a Jupyter notebook, the text of an `.ipynb` file: a cell of NumPy for each equation.

        Raises:
            ValueError: a network and rows of more than 20,000 numbers, which the first cell would give.
        """
        from torchbp.explanation.render.notebook import notebook

        return notebook(self)

    def to_svg(self) -> str:
        """The network as a drawing in SVG: units with their numbers, weights, biases, and the loss."""
        from torchbp.explanation.render.svg import svg

        return svg(self)

    def to_html(self) -> str:
        """The explanation as one HTML page that needs nothing else."""
        from torchbp.explanation.render.html.page import page

        return page(self)

    def _repr_html_(self):
        from torchbp.explanation.render.html.page import framed

        return framed(self)

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self):
        return f"Explanation({self.chain.described()}; loss {self.loss:.4g} → {self.new_loss:.4g} by lr={self.lr:g})"
