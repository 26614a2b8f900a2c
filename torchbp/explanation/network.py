"""The network as a chain of quantities: X gives Z1 by W1 and b1, Z1 gives A1 by σ, and so on to the output."""

from dataclasses import dataclass

from torchbp.engine.network import Network
from torchbp.ops.linear import linear
from torchbp.ops.rules import Activation, rule_of, rules

LETTERS = "ABCDEFGH"  # of the activations after a Linear layer
KINDS = {"Linear": "linear", "Sigmoid": "sigmoid", "Tanh": "tanh", "ReLU": "relu"}  # of the layers, ours or torch's


@dataclass(frozen=True)
class Step:
    """One layer: the quantity `gives` of the quantity `takes`.

    kind: "linear", or the name of an activation.
    number: of the linear layer that it is, or that it follows; from 1.
    layer: the module's name in the model, as in its state_dict.
    """

    kind: str
    number: int
    layer: str
    takes: str
    gives: str

    @property
    def weight(self):
        return f"W{self.number}"

    @property
    def bias(self):
        return f"b{self.number}"


class Chain:
    """A model's steps in order, and its parameters by the names of the equations, W1, b1, W2, …

    `start` are copies of the parameters, without a graph; `keys` their names in the model's state_dict.

    Raises:
        TypeError: an ensemble, a layer that is not supported, or two layers that share their weights.
    """

    def __init__(self, model):
        layers = Network(model)
        if layers.members:
            raise TypeError(f"an ensemble of {layers.members} networks is explained one by one: see MLP.unstack")
        self.steps, self.parameters, self.keys = [], {}, {}
        number, takes, letter = 0, "X", 0
        for name, layer in layers.named:
            kind = KINDS[type(layer).__name__]
            if rule_of(layer).name == "linear":
                number, letter = number + 1, 0
                step = Step(kind, number, name, takes, f"Z{number}")
                for key, parameter in (("weight", layer.weight), ("bias", layer.bias)):
                    if parameter is not None:
                        self.parameters[getattr(step, key)] = parameter
                        self.keys[getattr(step, key)] = f"{name}.{key}" if name else key
            else:
                if letter == len(LETTERS):
                    raise TypeError(
                        f"layer {name!r}: more than {letter} activations after one Linear have no names here"
                    )
                step = Step(kind, number, name, takes, f"{LETTERS[letter]}{number}")
                letter += 1
            self.steps.append(step)
            takes = step.gives
        # the explanation is of the network as it is now, whatever becomes of it
        self.start = {name: p.detach().clone() for name, p in self.parameters.items()}
        shared = {id(p) for p in self.parameters.values()}
        if len(shared) < len(self.parameters):
            raise TypeError("two layers share their weights; explain shows a gradient for each layer of its own")

    @property
    def output(self):
        return self.steps[-1].gives

    def forward(self, parameters, x, given=()):
        """Each quantity by its name, X among them, by the formulas of ops. `given` ones are not computed."""
        values = {"X": x, **dict(given)}
        for step in self.steps:
            if step.gives in values:
                continue
            a = values[step.takes]
            if step.kind == "linear":
                values[step.gives] = linear(a, parameters[step.weight], parameters.get(step.bias))
            else:
                values[step.gives] = rules(Activation)[step.kind].apply(a)
        return values

    def sizes(self):
        """n_0, n_1, …, n_L."""
        weights = [self.parameters[s.weight] for s in self.steps if s.kind == "linear"]
        return [weights[0].shape[1], *(w.shape[0] for w in weights)]

    def described(self):
        """For a heading: 2-4-1, sigmoid, 17 parameters."""
        kinds = list(dict.fromkeys(s.kind for s in self.steps if s.kind != "linear"))
        count = sum(p.numel() for p in self.parameters.values())
        return ", ".join(["-".join(map(str, self.sizes())), *kinds, f"{count} parameters"])
