"""How the parameters descend: plain gradient descent, momentum, Adam or AdamW, as the equations of an update.

    descent          W′ = W − α D                                       D = g
    momentum         v′ = μ v + g                                       D = v′, with Nesterov's g + μ v′
    Adam, AdamW      m′ = β1 m + (1 − β1) g;  v′ = β2 v + (1 − β2) g²   D = m′/(1 − β1ᵗ) / (√(v′/(1 − β2ᵗ)) + ε)

g is dL/dW, with weight decay dL/dW + λ W; AdamW adds λ W to D in place of that. t is the number of the step, from 1.
"""

import torch

from torchbp.explanation.notation.equations import ALPHA
from torchbp.explanation.notation.quantities import Quantity, d
from torchbp.ops.expressions import Symbol, sqrt

MU, LAMBDA, BETA1, BETA2, EPSILON, T = map(Symbol, ("μ", "λ", "β1", "β2", "ε", "t"))
UNSUPPORTED = "maximize", "amsgrad", "dampening"
WHY = "A step against the gradient, which points uphill; the learning rate α says how far."
WHY_VELOCITY = (
    "The velocity v is the sum of all gradients so far, each step times μ: it goes on where gradients agree, and they "
    "cancel where they change sign."
)
WHY_MEAN = "m is a running mean of the gradients: β1 of the old one and 1 − β1 of the new gradient."
WHY_SQUARE = "v is a running mean of the squared gradients, element by element."
WHY_ADAM = (
    "m′ and v′ start at 0 and are too small at first: 1 − β1ᵗ and 1 − β2ᵗ correct that. The root of v′ makes a step of "
    "about α for each weight, whether its gradients are large or small."
)
WHY_DECAY = " Weight decay, λ W, pulls each weight towards 0."


class Descent:
    """The update of a step, from torch's optimizer, or plain gradient descent where that is None.

    lr: α. name: of torch's class. symbols: the numbers of the equations by their symbols.
    state: what the optimizer remembers of each parameter, by the name of the quantity: vW1, mW1.
    t: the number of the step that is explained, from 1.

    Raises:
        TypeError: another optimizer. ValueError: settings that have no equations here, or parameters of other models.
    """

    def __init__(self, lr, optimizer, chain):
        self.lr, self.t, self.state, self.symbols = lr, 1, {}, {ALPHA.name: lr}
        self.cls, self.settings, self.kept = torch.optim.SGD, {"lr": lr}, {}
        if optimizer is not None:
            self._read(optimizer, chain)

    def _read(self, optimizer, chain):
        group = _settings_of(optimizer, chain)
        decay = group["weight_decay"]
        self.settings |= {"weight_decay": decay}
        self.symbols |= {LAMBDA.name: decay} if decay else {}
        if isinstance(optimizer, torch.optim.SGD):
            momentum, nesterov = group["momentum"], group["nesterov"]
            self.settings |= {"momentum": momentum, "nesterov": nesterov}
            self.symbols |= {MU.name: momentum}
            self.kept = {"v": "momentum_buffer"} if momentum else {}
        else:
            (beta1, beta2), eps = group["betas"], group["eps"]
            decoupled = group.get("decoupled_weight_decay", isinstance(optimizer, torch.optim.AdamW))
            self.cls = torch.optim.AdamW if decoupled else torch.optim.Adam
            self.settings |= {"betas": (beta1, beta2), "eps": eps}
            self.symbols |= {BETA1.name: beta1, BETA2.name: beta2, EPSILON.name: eps}
            self.kept = {"m": "exp_avg", "v": "exp_avg_sq"}
        for name, parameter in chain.parameters.items():
            found = optimizer.state.get(parameter, {})
            for letter, key in self.kept.items():
                tensor = found.get(key)
                start = chain.start[name]
                self.state[f"{letter}{name}"] = (
                    torch.zeros_like(start) if tensor is None else tensor.detach().to(start, copy=True)
                )
            if "step" in found:
                self.t = int(found["step"]) + 1
        if "m" in self.kept:
            self.symbols[T.name] = self.t

    @property
    def name(self):
        return f"torch.optim.{self.cls.__name__}"

    @property
    def is_plain(self):
        """Whether D is the gradient."""
        return self.cls is torch.optim.SGD and not self.kept and not self.symbols.get(LAMBDA.name)

    def described(self):
        """Its settings, for a heading: Adam, β1 = 0.9, β2 = 0.999, …; "" of plain gradient descent."""
        if self.is_plain:
            return ""
        numbers = {name: value for name, value in self.symbols.items() if value and name != ALPHA.name}
        nesterov = ["Nesterov's momentum"] if self.settings.get("nesterov") else []
        return ", ".join([self.cls.__name__, *(f"{name} = {value:g}" for name, value in numbers.items()), *nesterov])

    def equations(self, quantity):
        """(what is remembered after the step, each with its equation and why; D; and why it is that) of a parameter."""
        g, decay = d(quantity), self.symbols.get(LAMBDA.name)
        if self.cls is torch.optim.AdamW or not decay:
            decayed, why = g, ""
        else:
            decayed, why = g + LAMBDA * quantity, WHY_DECAY
        if not self.kept:
            return [], decayed, WHY + why
        v = Quantity(f"v{quantity.letter}", quantity.number)
        if self.cls is torch.optim.SGD:
            direction = decayed + MU * v.after() if self.settings["nesterov"] else v.after()
            ahead = (
                " Nesterov's step goes along the gradient and once more along the new velocity."
                * self.settings["nesterov"]
            )
            return [(v.after(), MU * v + decayed, WHY_VELOCITY + why)], direction, WHY + ahead
        m = Quantity(f"m{quantity.letter}", quantity.number)
        mean = m.after() / (1 - BETA1**T)
        direction = mean / (sqrt(v.after() / (1 - BETA2**T)) + EPSILON)
        after = [
            (m.after(), BETA1 * m + (1 - BETA1) * decayed, WHY_MEAN + why),
            (v.after(), BETA2 * v + (1 - BETA2) * decayed**2, WHY_SQUARE),
        ]
        if self.cls is torch.optim.AdamW and decay:
            return after, direction + LAMBDA * quantity, WHY_ADAM + WHY_DECAY
        return after, direction, WHY_ADAM

    def update(self, quantity, values, symbols):
        """Add what is remembered of a parameter and its new value to the values. Returns D, a tensor."""
        after, direction, _ = self.equations(quantity)
        for kept, tree, _ in after:
            values[kept.name] = tree.evaluate(symbols)
        direction = direction.evaluate(symbols)
        values[quantity.after().name] = values[quantity.name].add(direction, alpha=-self.lr)
        return direction

    def following(self, values):
        """The same for the next step, after the one with these values."""
        found = object.__new__(Descent)
        found.__dict__ |= self.__dict__ | {"t": self.t + 1}
        found.state = {name: values.get(f"{name}′", tensor) for name, tensor in self.state.items()}
        found.symbols = self.symbols | ({T.name: found.t} if T.name in self.symbols else {})
        return found

    def by_torch(self, parameters, gradients, dtype):
        """{name: tensor} of W′, v′ and m′ by torch's optimizer. `parameters` {name: tensor} are changed in place."""
        for name, p in parameters.items():
            p.grad = gradients[name]
        optimizer = self.cls(list(parameters.values()), **self.settings, foreach=False)
        for name, p in parameters.items():
            kept = {key: self.state[f"{letter}{name}"].to(dtype, copy=True) for letter, key in self.kept.items()}
            if kept:
                optimizer.state[p] = kept | ({"step": torch.tensor(self.t - 1.0)} if "m" in self.kept else {})
        optimizer.step()
        found = {f"{name}′": p for name, p in parameters.items()}
        for name, p in parameters.items():
            found |= {f"{letter}{name}′": optimizer.state[p][key] for letter, key in self.kept.items()}
        return found


def _settings_of(optimizer, chain):
    """The settings that all parameters of the network share."""
    if not isinstance(optimizer, torch.optim.SGD | torch.optim.Adam | torch.optim.AdamW):
        raise TypeError(
            f"optimizer={type(optimizer).__name__} has no equations here; use torch.optim.SGD, Adam or AdamW, "
            "or leave it out for gradient descent"
        )
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    learning = {name: p for name, p in chain.parameters.items() if p.requires_grad}
    if missing := [chain.keys[name] for name, p in learning.items() if id(p) not in groups]:
        raise ValueError(f"the optimizer does not have the model's {missing[0]}; make it of model.parameters()")
    found = [groups[id(p)] for p in learning.values()] or optimizer.param_groups
    for group in found:
        for name in UNSUPPORTED:
            if group.get(name):
                raise ValueError(f"the optimizer has {name}={group[name]}, without an equation here; leave it out")
        for name in ("lr", "weight_decay", "momentum", "nesterov", "betas", "eps"):
            if group.get(name) != found[0].get(name):
                raise ValueError(
                    f"the optimizer's groups have {name}={found[0].get(name)} and {group.get(name)}; explain shows one "
                    "set of settings: use one group"
                )
    return found[0]


def lr_of(lr, optimizer):
    """The learning rate: the one that is given, the optimizer's, or 0.1."""
    if optimizer is None or not getattr(optimizer, "param_groups", None):
        return 0.1 if lr is None else lr
    if lr is not None:
        raise TypeError("lr and optimizer are both given; the optimizer has its own learning rate: leave lr out")
    return optimizer.param_groups[0]["lr"]
