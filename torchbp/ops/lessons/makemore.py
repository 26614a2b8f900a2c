"""makemore: a network that invents names, and its backward pass by hand.

    python -m torchbp.ops.lessons.makemore

It reads three letters and gives a number, a logit, to each letter that may come next. N rows, V = 27 letters (with the
dot that begins and ends a name), D = 10 numbers for a letter, H = 64 hidden units:

    forward     E  = C[x]                              (N, 3, D)    a row of C for each letter
                X  = the rows of E side by side        (N, 3 D)
                Z1 = X W1ᵀ                             (N, H)
                B  = γ ∘ x̂ + β                         (N, H)       batch norm, x̂ = (Z1 − μ) r, r = 1 / √(σ² + ε)
                A  = tanh(B)                           (N, H)
                Z2 = A W2ᵀ + b2                        (N, V)       the logits
                L  = −(1/N) Σ_n ln softmax(Z2)_y                    cross-entropy

`train` lets it learn with the layers of `torchbp.nn`. `backward` is what they do in `loss.backward()`: one line for
each gradient, from L back to C, compared with what autograd computes for the same network of `torch.nn`. The network is
that of Andrej Karpathy's lectures "makemore", where this exercise is called "becoming a backprop ninja".
"""

import torch
from torch.nn.functional import log_softmax

import torchbp
from torchbp.ops.activations.tanh import tanh_dz
from torchbp.ops.layers.embedding import embedding_dweight
from torchbp.ops.layers.linear import linear_dbias, linear_dweight, linear_dx
from torchbp.ops.lessons._comparison import Comparison
from torchbp.ops.losses.cross_entropy import cross_entropy_dz
from torchbp.ops.normalisation._normalised import channel_dbias, channel_dweight
from torchbp.ops.normalisation.batch_norm import batch_norm_dx

LIST = """
ada agnes alba alma amelia anna anton aria arthur astrid august aurora bella bruno cara carla carlo cecilia clara cora
daniel daria david diana dora edgar eleanor elena elias elisa ella elsa emil emilia emma enzo erik eva fabian felix
fiona flora florian frida gabriel georgia greta hanna hannah hector hugo ida ines ingrid irene iris isabel isabella ivan
jana jasmin joana jonas jonathan josef julia julian julius karin karl karla lara laura lena leo leon leona levi lia lila
linda lisa livia lorenzo louis luca lucia luisa lukas luna maja mara marc maria marian marina mario marta martin mateo
matilda max maya mia mila milan mira miriam nadia nina noah noel nora olga oliver olivia oscar otto paul paula
petra rafael rita robin roman rosa ruben samuel sara sofia sonja stella thea theo tim tobias tom valentin valeria vera
victor viola vivian walter
"""
NAMES = LIST.split()

LETTERS = ".abcdefghijklmnopqrstuvwxyz"
CONTEXT, FEATURES, UNITS = 3, 10, 64


class Network(torch.nn.Module):
    """The network, of the layers of `nn`, with a way to run the batch norm: of `torchbp.nn` and at once, or for the
    comparison of `torch.nn` and in steps."""

    def __init__(self, nn, normalise):
        super().__init__()
        self.embedding = nn.Embedding(len(LETTERS), FEATURES)
        self.flatten = nn.Flatten()
        self.hidden = nn.Linear(CONTEXT * FEATURES, UNITS, bias=False)  # batch norm would subtract a bias again
        self.norm = nn.BatchNorm1d(UNITS)
        self.tanh = nn.Tanh()
        self.output = nn.Linear(UNITS, len(LETTERS))
        self.normalise = normalise
        self.double()

    def forward(self, x):
        """Every number on the way to the logits Z2, by its name."""
        e = self.embedding(x)
        flat = self.flatten(e)
        z1 = self.hidden(flat)
        norm = self.normalise(self.norm, z1)
        a = self.tanh(norm["B"])
        z2 = self.output(a)
        return {"E": e, "X": flat, "Z1": z1, **norm, "A": a, "Z2": z2}

    def symbols(self):
        """The parameters as the equations call them."""
        hidden, norm, output = self.hidden, self.norm, self.output
        weights = {"C": self.embedding.weight, "W1": hidden.weight, "W2": output.weight, "b2": output.bias}
        return weights | {"γ": norm.weight, "β": norm.bias}


def at_once(norm, z1):
    return {"B": norm(z1)}


def in_steps(norm, z1):
    """So that autograd has the gradient of each."""
    mean, var = z1.mean(0), z1.var(0, correction=0)
    rstd = (var + norm.eps).rsqrt()
    xhat = (z1 - mean) * rstd
    return {"μ": mean, "σ²": var, "r": rstd, "x̂": xhat, "B": norm.weight * xhat + norm.bias}


def letters_in_names():
    """x (N, 3), the three letters before each letter of each name, and y (N), that letter, as numbers from 0 to 26."""
    x, y = [], []
    for name in NAMES:
        row = [0] * CONTEXT
        for letter in map(LETTERS.index, f"{name}."):
            x.append(row)
            y.append(letter)
            row = [*row[1:], letter]
    return torch.tensor(x), torch.tensor(y)


def train(network, x, y, steps, rate=0.5, rows=128):
    """Gradient descent, each step on some of the rows. The losses of the steps are returned."""
    optimizer, loss_function, losses = torch.optim.SGD(network.parameters(), lr=rate), torchbp.nn.CrossEntropyLoss(), []
    for step in range(steps):
        if step == steps * 3 // 4:
            optimizer.param_groups[0]["lr"] = rate / 10
        chosen = torch.randint(len(x), (rows,))
        optimizer.zero_grad()
        loss = loss_function(network(x[chosen])["Z2"], y[chosen])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def backward(x, y, values, p, compare):
    """Every gradient of L, from the logits back to the letters, by hand.

    Args:
        x, y: three letters and the next one, (N, 3) and (N).
        values: the numbers of the forward pass, by name.
        p: the parameters, by name.
        compare: `compare(name, equation, gradient)` returns the gradient.
    """
    n = len(y)
    e, flat, z1, a, z2 = (values[name] for name in ("E", "X", "Z1", "A", "Z2"))
    mean, rstd = z1.mean(0), 1 / (z1.var(0, correction=0) + 1e-5).sqrt()
    xhat = (z1 - mean) * rstd
    dloss = torch.full_like(z2[:, 0], 1 / n)  # of each row, for L is their mean

    dz2 = compare("Z2", "(softmax(Z2) − onehot(y)) / N", cross_entropy_dz(dloss, log_softmax(z2, 1), y, 1))
    compare("W2", "dZ2ᵀ A", linear_dweight(dz2, a))
    compare("b2", "Σ_n dZ2", linear_dbias(dz2))
    da = compare("A", "dZ2 W2", linear_dx(dz2, p["W2"]))
    db = compare("B", "dA ∘ (1 − A²)", tanh_dz(da, a))
    dgamma = compare("γ", "Σ_n dB ∘ x̂", channel_dweight(db, xhat))
    dbeta = compare("β", "Σ_n dB", channel_dbias(db))

    # through the batch norm in single steps; then in one formula, in which the three terms of dZ1 are multiplied out
    dxhat = compare("x̂", "γ ∘ dB", p["γ"] * db)
    drstd = compare("r", "Σ_n dx̂ ∘ (Z1 − μ)", (dxhat * (z1 - mean)).sum(0))
    dvar = compare("σ²", "−½ r³ ∘ dr", -0.5 * rstd**3 * drstd)
    dmean = compare("μ", "−r ∘ Σ_n dx̂", -rstd * dxhat.sum(0))
    compare("Z1", "r ∘ dx̂ + (2/N) (Z1 − μ) ∘ dσ² + dμ/N", rstd * dxhat + 2 / n * (z1 - mean) * dvar + dmean / n)
    dz1 = batch_norm_dx(db, xhat, rstd, p["γ"], dgamma, dbeta)
    compare("Z1", "γ ∘ r ∘ (dB − dβ/N − x̂ ∘ dγ/N)", dz1)

    compare("W1", "dZ1ᵀ X", linear_dweight(dz1, flat))
    dflat = compare("X", "dZ1 W1", linear_dx(dz1, p["W1"]))
    de = compare("E", "dX in the shape of E", dflat.view(e.shape))
    compare("C", "dC_v = Σ dE where x = v", embedding_dweight(de, x, len(LETTERS)))


def compared(network, x, y):
    """The table of all gradients of a network, beside those of its copy of `torch.nn`."""
    copy = Network(torch.nn, in_steps)
    copy.load_state_dict(network.state_dict())
    values = copy(x)
    comparison = Comparison(torch.nn.functional.cross_entropy(values["Z2"], y), values | copy.symbols())
    backward(x, y, network(x), network.symbols(), comparison)
    return comparison


@torch.no_grad()
def invented(network):
    """A name, each letter drawn by the probabilities that the network gives."""
    row, name = [0] * CONTEXT, ""
    while not name.endswith(".") and len(name) < 12:
        logits = network(torch.tensor([row]))["Z2"]
        letter = torch.multinomial(logits.softmax(1), 1).item()
        row, name = [*row[1:], letter], name + LETTERS[letter]
    return name.rstrip(".")


def main(steps=600):
    torch.manual_seed(0)
    network, (x, y) = Network(torchbp.nn, at_once), letters_in_names()
    losses = train(network, x, y, steps)
    print(f"{len(NAMES)} names, {len(x)} rows; loss {losses[0]:.2f} at first, {losses[-1]:.2f} after {steps} steps")
    comparison = compared(network, x, y)
    network.eval()
    print("invented:", " ".join(invented(network) for _ in range(8)))
    print(comparison)


if __name__ == "__main__":
    torch.set_num_threads(1)  # products this small are slower on more
    main()
