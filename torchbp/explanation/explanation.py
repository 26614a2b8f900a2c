"""`torchbp.explain`: one step of gradient descent, every quantity of it by formula, shape and number, and checked."""

import math
from collections.abc import Iterable
from typing import Any

import torch

from torchbp.explanation.arguments.loss import fitted_loss, supported_loss
from torchbp.explanation.arguments.model import check_parameters, member_of
from torchbp.explanation.arguments.rows import rows, unscaled_rows
from torchbp.explanation.arguments.settings import checked_factor, rate, texts
from torchbp.explanation.comparison.checks import checked
from torchbp.explanation.derivation.criterion import Criterion
from torchbp.explanation.derivation.descent import Descent, lr_of
from torchbp.explanation.derivation.many_steps import Descents
from torchbp.explanation.derivation.network import Chain
from torchbp.explanation.derivation.step import TrainingStep
from torchbp.explanation.ensemble import Ensemble
from torchbp.explanation.notation.quantities import d
from torchbp.explanation.notation.records import Record, sentence
from torchbp.explanation.observations import observations
from torchbp.explanation.render.steps_text import as_text_of_steps
from torchbp.explanation.render.text import as_text
from torchbp.explanation.steps import Steps, without_autocast


@torch.inference_mode(False)  # the checks differentiate
@torch.no_grad()
def explain(
    model: torch.nn.Module,
    x: Any,
    y: Any,
    lr: float | None = None,
    loss: torch.nn.Module | None = None,
    title: str = "",
    features: Iterable[str] = (),
    outputs: Iterable[str] = (),
    unscaled: Any = None,
    optimizer: torch.optim.Optimizer | None = None,
    steps: int = 1,
    member: int | None = None,
    factor: float = 1.0,
) -> "Explanation":
    r"""One step of backpropagation and gradient descent, explained; it changes neither the model nor any `.grad`.

        Z1 = X W1ᵀ + b1,  A1 = σ(Z1),  …,  L;   dL/dA2,  dL/dZ2,  dL/dW2,  …,  dL/db1;   W′ = W − α dL/dW;   and again

    Args:
        model: an `MLP`, or a `torch.nn.Sequential` of layers and activations that have a rule with equations: Linear,
            all activations, Softmax, LogSoftmax, GLU, PReLU, Dropout, all norms, pooling, small convolutions and
            transposed ones, and Flatten, ours or torch's, PeriodicEmbedding, and those that you have made. In training
            mode a Dropout draws its mask once, and the mask is given like x, and a batch norm takes the statistics of
            x.
        x: a row, shape `(in_features)`, or rows, `(N, in_features)`, or of any shape that the layers take, such as
            `(N, channels, …)`: a tensor, an array or a list. It, y and the loss's weights are taken in the dtype and on
            the device of the model.
        y: its target `(outputs)`, or theirs, `(N, outputs)` or the shape that the model gives; of a loss of classes the
            class of each row, `(N)`, or a 1 among zeros, `(N, outputs)`. N is the number of rows throughout, K that of
            outputs.
        lr: the learning rate α, a number. None is 0.1, or that of the optimizer.
        loss: a loss that has a rule with equations, with reduction "mean" or "sum", of torch or torchbp, or one that
            you have made: `BCEWithLogitsLoss`, `BCELoss`, `CrossEntropyLoss`, `NLLLoss`, `MSELoss`, `L1Loss`,
            `HuberLoss`, `SmoothL1Loss`, `KLDivLoss`. None is the cross-entropy of probabilities: `BCELoss` where the
            model ends with a Sigmoid, otherwise `BCEWithLogitsLoss`.
        title: of the text and the page.
        features, outputs: names of the columns of x and y: of the numbers that go in, and of what the answers are the
            probability of.
        unscaled: x before it was scaled, in the same shape, which is printed beside it; None where it was not.
        optimizer: `torch.optim.SGD`, with momentum, Nesterov's or weight decay, `Adam` or `AdamW` of the model's
            parameters: the step is its step, from what it remembers of earlier ones. None is plain gradient descent.
        steps: how many steps to take, one after the other: see `Explanation.steps`.
        member: of an ensemble, the number of the network that is explained, from 1.
        factor: L is multiplied by it: `MSELoss(reduction="sum")` times 0.5 is ½ Σ (A − y)², the error of textbooks.

    Returns:
        An `Explanation`: its `records`, one for each quantity in that order; print it, or write its `to_html()` to a
        file.

    Raises:
        TypeError: a layer, hook, loss or optimizer that is not supported; layers that share weights; probabilities for
            a loss that the model does not give; an ensemble without `member`; what is no real number, a title no text,
            names no list; lr beside an optimizer.
        ValueError: layers, an x, a y or a loss's weight whose shapes do not fit; a model of several dtypes or devices;
            a y that is no probability or no class where the loss takes one; an lr that is not positive; nan or inf in
            any of them; names of another number of columns; steps, or a member, that cannot be; an optimizer of other
            parameters.

    Example:
        >>> net = torchbp.nn.MLP(2, 4, 1)
        >>> print(torchbp.explain(net, [[0.0, 1.0]], [[1.0]], lr=0.5))
    """
    chain = Chain(member_of(model, member))
    check_parameters(chain)
    loss = supported_loss(loss, chain)
    x, y = rows(chain, x, y, loss)
    loss, lr = fitted_loss(loss, y, chain), rate(lr_of(lr, optimizer), x.dtype)
    title, features, outputs = texts(title, features, outputs, chain)
    unscaled = unscaled_rows(unscaled, x)
    descent = Descent(lr, optimizer, chain)
    with torch.autocast(x.device.type, enabled=False):
        found = Descents(TrainingStep(chain, Criterion(loss, chain, y, checked_factor(factor)), x, descent), steps)
        return Explanation(found, 0, title, features, outputs, unscaled)


class Explanation:
    """A step of gradient descent: its `records` in order, each also by its name, `explanation["dL/dW1"]`.

    records: a list of `Record`.
    lr: the learning rate. loss, new_loss: L before and after the step, numbers.
    updated: the parameters after the step by their keys in the model's state_dict, tensors.
    steps: all steps of the descent, a sequence of explanations; this one is `steps[number - 1]`.
    observations: what there is to see, in sentences: units that learn the same, saturation, a vanishing gradient.
    ensemble: how the network answers together with others, an `Ensemble`, which the text and the page show first; None
        unless the command has set it.
    """

    ensemble: Ensemble | None = None

    def __init__(
        self,
        descents: Descents,
        place: int,
        title: str,
        features: list[str],
        outputs: list[str],
        unscaled: torch.Tensor | None = None,
    ) -> None:
        self.step, self.number, self.title = descents[place], place + 1, title
        self.records: list[Record] = checked(self.step)
        self.features, self.outputs, self.unscaled = features, outputs, unscaled
        self.chain, self.values, self.lr = self.step.chain, self.step.values, self.step.lr
        self.by_name = {record.name: record for record in self.records}
        self.loss, self.new_loss = self["L"].tensor.item(), self["L′"].tensor.item()
        self.updated = {self.chain.keys[q.name]: self[q.after().name].tensor for q in self.step.learnt}
        self.observed = observations(self)
        self.steps = Steps(self, descents)

    def __getitem__(self, name: str) -> Record:
        return self.by_name[name]

    @property
    def observations(self) -> list[str]:
        return [sentence(parts) for parts in self.observed]

    @without_autocast
    @torch.no_grad()
    def loss_after(self, lr: float) -> float:
        """L after a step of another length along the same way, a number."""
        if lr > torch.finfo(self.values["X"].dtype).max:  # torch does not convert it
            return math.inf
        new = dict(self.chain.start)
        for name, direction in self.step.directions.items():
            new[name] = new[name].add(direction, alpha=-lr)
        output = self.chain.forward(new, self.values["X"])[self.chain.output.name]
        return self.step.criterion.value_and_derivative(output)[0].item()

    def squared_norm(self) -> float:
        """‖∇L‖², over all parameters that learn: how fast L falls at first, per unit of α."""
        return sum(self.values[d(q).name].double().square().sum().item() for q in self.step.learnt)

    def slope(self) -> float:
        """How fast L falls at first along the step, per unit of α: ∇L·D of W′ = W − α D, which is ‖∇L‖² where D is the
        gradient."""
        directions = self.step.directions
        return sum((self.values[d(q).name].double() * directions[q.name]).sum().item() for q in self.step.learnt)

    def norms(self) -> list[float]:
        """‖dL/dZ‖ of each layer that the gradient comes to, from the first to the last."""
        steps = [step for step in self.chain.steps[self.chain.first :] if step.is_layer]
        return [self.values[d(step.gives).name].double().norm().item() for step in steps]

    @without_autocast
    def to_text(self, layer: int | None = None) -> str:
        """The explanation in lines of at most 80 characters; of one layer, by its number, or of all. Of many steps it
        is this one, a line for each, and the last one."""
        if self.number == 1 and len(self.steps) > 1:
            return as_text_of_steps(self, layer)
        return as_text(self, layer)

    @without_autocast
    @torch.inference_mode(False)
    @torch.no_grad()
    def follow(self, element: str, row: int | None = None) -> str:
        """The ways from the loss to one number, factor by factor, in lines of at most 80 characters.

        Args:
            element: its name and place, as the equations call it, from 1: a weight "W1[2,3]", a bias "b1[2]", a unit in
                a row "A1[1,3]", or an input "X[1,2]".
            row: in which row the ways to a parameter are shown, from 1; None is the one that adds most to its gradient.

        Raises:
            ValueError: there is no such number, or no such row.

        Example:
            >>> print(torchbp.explain(torchbp.nn.MLP(2, 4, 1), [[0.0, 1.0]], [[1.0]]).follow("W1[3,2]"))
        """
        from torchbp.explanation.render.following_text import following

        return following(self, element, row)

    @without_autocast
    def to_json(self, most: int | None = 10_000) -> str:
        """The explanation as text in JSON, each step of it.

        Args:
            most: of a tensor with more numbers there are only the shape, the least, the largest and the mean number;
                None writes all.
        """
        from torchbp.explanation.render.to_json import as_json

        return as_json(self, most)

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

    @without_autocast
    def to_html(self) -> str:
        """The explanation as one HTML page that needs nothing else."""
        from torchbp.explanation.render.html.page import page

        return page(self)

    @without_autocast
    def _repr_html_(self):
        from torchbp.explanation.render.html.page import framed

        return framed(self)

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self):
        return f"Explanation({self.chain.described()}; loss {self.loss:.4g} → {self.new_loss:.4g} by lr={self.lr:g})"
