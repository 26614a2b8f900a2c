"""A GPT-2 block: a network that learns a poem letter by letter, and its backward pass by hand.

    python -m torchbp.ops.lessons.gpt2_block

It reads up to T = 32 letters and gives, after each, a logit for every letter that may come next. D = 32 features, H = 4
heads, V letters; LN is layer norm, γ ∘ x̂ + β with x̂ = (x − μ) / √(σ² + ε), by rows:

    forward     H0 = W_e[x] + W_p                                      letter and place
                N1 = LN(H0)       QKV = N1 W_qkvᵀ + b_qkv              each of T × D, cut into heads
                S  = Q Kᵀ / √(D/H), −∞ where a key comes later         P = softmax(S)      O = P V, heads side by side
                H1 = H0 + O W_oᵀ + b_o                                 the first residual sum
                N2 = LN(H1)       U = N2 W_uᵀ + b_u      G = gelu(U)   4 D features
                H2 = H1 + G W_gᵀ + b_g                                 the second residual sum
                N3 = LN(H2)       Z = N3 W_eᵀ                          logits, by the embedding again
                L  = the mean of −ln softmax(Z)_y

`train` lets it learn with the layers of `torchbp.nn`. `backward` is what they do in `loss.backward()`: one line for
each gradient, from L back to W_e and W_p, compared with what autograd computes for the same network of `torch.nn`. Two
things are new beside a chain of layers. A residual sum passes its gradient on to both of its terms, so the gradients of
H0 and H1 are sums. W_e is used twice, and its gradient is the sum of both.
"""

import math

import torch
from torch.nn.functional import cross_entropy, log_softmax

import torchbp
from torchbp.ops.activations.gelu import gelu_dz
from torchbp.ops.attention import scaled_dot_product_attention as attention
from torchbp.ops.layers.embedding import embedding_dweight
from torchbp.ops.layers.linear import linear_dbias, linear_dweight, linear_dx
from torchbp.ops.lessons._comparison import Comparison
from torchbp.ops.losses.cross_entropy import cross_entropy_dz
from torchbp.ops.normalisation.layer_norm import layer_norm_dweight, layer_norm_dx, summed

POEM = """tyger tyger, burning bright,
in the forests of the night;
what immortal hand or eye,
could frame thy fearful symmetry?

in what distant deeps or skies
burnt the fire of thine eyes?
on what wings dare he aspire?
what the hand, dare seize the fire?
"""  # William Blake, 1794

LETTERS = "".join(sorted(set(POEM)))
LENGTH, FEATURES, HEADS = 32, 32, 4
SCALE = 1 / math.sqrt(FEATURES // HEADS)


class Block(torch.nn.Module):
    """The network, of the layers of `nn`, with a way to compute the attention: of `torchbp.nn` and at once, or for the
    comparison of `torch.nn` and in steps."""

    def __init__(self, nn, attend):
        super().__init__()
        self.letters = nn.Embedding(len(LETTERS), FEATURES)
        self.places = nn.Embedding(LENGTH, FEATURES)
        self.norm1 = nn.LayerNorm(FEATURES)
        self.qkv = nn.Linear(FEATURES, 3 * FEATURES)
        self.out = nn.Linear(FEATURES, FEATURES)
        self.norm2 = nn.LayerNorm(FEATURES)
        self.up = nn.Linear(FEATURES, 4 * FEATURES)
        self.gelu = nn.GELU(approximate="tanh")
        self.down = nn.Linear(4 * FEATURES, FEATURES)
        self.norm3 = nn.LayerNorm(FEATURES)
        self.logits = nn.Linear(FEATURES, len(LETTERS), bias=False)
        self.logits.weight = self.letters.weight
        self.attend = attend
        torch.nn.init.normal_(self.letters.weight, std=0.1)
        torch.nn.init.normal_(self.places.weight, std=0.1)
        self.double()

    def forward(self, x):
        """Every number on the way from the letters x (N, T) to the logits Z (N, T, V), by its name."""
        h0 = self.letters(x) + self.places(torch.arange(x.shape[1]))
        n1 = self.norm1(h0)
        qkv = self.qkv(n1)
        q, k, v = (by_head(t) for t in qkv.chunk(3, -1))
        scores = self.attend(q, k, v)
        o = side_by_side(scores.pop("O"))
        h1 = h0 + self.out(o)
        n2 = self.norm2(h1)
        u = self.up(n2)
        g = self.gelu(u)
        h2 = h1 + self.down(g)
        n3 = self.norm3(h2)
        z = self.logits(n3)
        of_heads = {"Q": q, "K": k, "V": v, **scores, "O": o}
        return {
            "H0": h0,
            "N1": n1,
            "QKV": qkv,
            **of_heads,
            "H1": h1,
            "N2": n2,
            "U": u,
            "G": g,
            "H2": h2,
            "N3": n3,
            "Z": z,
        }

    def symbols(self):
        """The parameters as the equations call them."""
        linears = {"qkv": self.qkv, "o": self.out, "u": self.up, "g": self.down}
        norms = {"1": self.norm1, "2": self.norm2, "3": self.norm3}
        return {
            "W_e": self.letters.weight,
            "W_p": self.places.weight,
            **{f"W_{name}": layer.weight for name, layer in linears.items()},
            **{f"b_{name}": layer.bias for name, layer in linears.items()},
            **{f"γ{name}": layer.weight for name, layer in norms.items()},
            **{f"β{name}": layer.bias for name, layer in norms.items()},
        }


def by_head(t):
    """(N, T, D) as (N, H, T, D/H)."""
    return t.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def side_by_side(t):
    """The inverse of `by_head`."""
    return t.transpose(1, 2).flatten(2)


def at_once(q, k, v):
    return {"O": torchbp.ops.scaled_dot_product_attention(q, k, v, is_causal=True)}


def in_steps(q, k, v):
    """In steps, so that autograd has the gradients of S and P."""
    s = q @ k.mT * SCALE
    s = s.masked_fill(torch.ones_like(s[0, 0], dtype=torch.bool).triu(1), -math.inf)
    p = s.softmax(-1)
    return {"S": s, "P": p, "O": p @ v}


def letters_of_poem(rows):
    """x and y (rows, T): letters from a place drawn at random, and the letter after each."""
    numbers = torch.tensor([LETTERS.index(letter) for letter in POEM])
    starts = torch.randint(len(numbers) - LENGTH, (rows, 1))
    return numbers[starts + torch.arange(LENGTH)], numbers[starts + torch.arange(LENGTH) + 1]


def train(block, steps, rate=1e-2, rows=8):
    """Steps of AdamW, each on rows drawn at random. The losses of the steps are returned."""
    optimizer, loss_function, losses = torch.optim.AdamW(block.parameters(), rate), torchbp.nn.CrossEntropyLoss(), []
    for _ in range(steps):
        x, y = letters_of_poem(rows)
        optimizer.zero_grad()
        loss = loss_function(block(x)["Z"].flatten(0, 1), y.flatten())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def x_hat(x):
    """(x − μ) / √(σ² + ε) and 1 / √(σ² + ε) of each row."""
    rstd = 1 / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    return (x - x.mean(-1, keepdim=True)) * rstd, rstd


@torch.no_grad()
def backward(x, y, values, w, compare):
    """Every gradient of L, from the logits back to the letters, by hand.

    Args:
        x, y: the letters and those that come next, (N, T).
        values: the numbers of the forward pass, by name.
        w: the parameters, by name.
        compare: `compare(name, equation, gradient)` returns the gradient.
    """
    v, shape = values, [FEATURES]

    def layer_norm(number, dn, h):
        """dγ and dβ of the layer norm of h, which are compared, and its dh."""
        xhat, rstd = x_hat(h)
        compare(f"γ{number}", f"Σ dN{number} ∘ x̂", layer_norm_dweight(dn, xhat, shape))
        compare(f"β{number}", f"Σ dN{number}", summed(dn, shape))
        return layer_norm_dx(dn, xhat, rstd, w[f"γ{number}"], shape)

    # the loss and the logits; W_e has a first gradient here
    dloss = torch.full(y.shape, 1 / y.numel(), dtype=v["Z"].dtype)
    dz = compare("Z", "(softmax(Z) − onehot(y)) / (N T)", cross_entropy_dz(dloss, log_softmax(v["Z"], -1), y, -1))
    dembedding = linear_dweight(dz, v["N3"])
    dn3 = compare("N3", "dZ W_e", linear_dx(dz, w["W_e"]))
    dh2 = compare("H2", "dLN3 = (g − mean(g) − x̂ ∘ mean(g ∘ x̂)) / √(σ² + ε), g = γ3 ∘ dN3", layer_norm(3, dn3, v["H2"]))

    # the second residual sum: dH2 goes to H1 as it is, and through the layers beside it
    compare("W_g", "dH2ᵀ G", linear_dweight(dh2, v["G"]))
    compare("b_g", "Σ dH2", linear_dbias(dh2))
    dg = compare("G", "dH2 W_g", linear_dx(dh2, w["W_g"]))
    du = compare("U", "dG ∘ gelu′(U)", gelu_dz(dg, v["U"], "tanh"))
    compare("W_u", "dUᵀ N2", linear_dweight(du, v["N2"]))
    compare("b_u", "Σ dU", linear_dbias(du))
    dn2 = compare("N2", "dU W_u", linear_dx(du, w["W_u"]))
    dh1 = compare("H1", "dH2 + dLN2, with g = γ2 ∘ dN2", dh2 + layer_norm(2, dn2, v["H1"]))

    # the first residual sum: dH1 goes to H0 as it is, and through the attention
    compare("W_o", "dH1ᵀ O", linear_dweight(dh1, v["O"]))
    compare("b_o", "Σ dH1", linear_dbias(dh1))
    do = compare("O", "dH1 W_o", linear_dx(dh1, w["W_o"]))
    do = by_head(do)
    p = attention.probabilities(v["Q"], v["K"], causal=True, scale=SCALE)
    dv = compare("V", "Pᵀ dO", attention.attention_dv(do, p))
    dp = compare("P", "dO Vᵀ", attention.attention_dp(do, v["V"]))
    ds = compare("S", "P ∘ (dP − Σ_j P ∘ dP)", attention.attention_ds(dp, p))
    dq = compare("Q", "dS K / √(D/H)", attention.attention_dq(ds, v["K"], SCALE))
    dk = compare("K", "dSᵀ Q / √(D/H)", attention.attention_dk(ds, v["Q"], SCALE))
    dqkv = compare("QKV", "dQ, dK and dV side by side", torch.cat([side_by_side(t) for t in (dq, dk, dv)], -1))
    compare("W_qkv", "dQKVᵀ N1", linear_dweight(dqkv, v["N1"]))
    compare("b_qkv", "Σ dQKV", linear_dbias(dqkv))
    dn1 = compare("N1", "dQKV W_qkv", linear_dx(dqkv, w["W_qkv"]))
    dh0 = compare("H0", "dH1 + dLN1, with g = γ1 ∘ dN1", dh1 + layer_norm(1, dn1, v["H0"]))

    # the embeddings; W_e has its second gradient here
    compare("W_p", "Σ_n dH0", dh0.sum(0))
    dembedding += embedding_dweight(dh0, x, len(LETTERS))
    compare("W_e", "dZᵀ N3, and row v: + Σ dH0 where x = v", dembedding)


def compared(block, x, y):
    """The table of all gradients of a block, beside those of its copy of `torch.nn`."""
    copy = Block(torch.nn, in_steps)
    copy.load_state_dict(block.state_dict())
    values = copy(x)
    comparison = Comparison(cross_entropy(values["Z"].flatten(0, 1), y.flatten()), values | copy.symbols())
    backward(x, y, block(x), block.symbols(), comparison)
    return comparison


@torch.no_grad()
def recited(block, text, letters):
    """The text, continued by the most likely letters."""
    for _ in range(letters):
        x = torch.tensor([[LETTERS.index(letter) for letter in text[-LENGTH:]]])
        text += LETTERS[block(x)["Z"][0, -1].argmax().item()]
    return text


def main(steps=300):
    torch.manual_seed(0)
    block = Block(torchbp.nn, at_once)
    losses = train(block, steps)
    print(f"{len(POEM)} letters; loss {losses[0]:.2f} at first, {losses[-1]:.2f} after {steps} steps")
    print(recited(block, "tyger tyger", POEM.index("\n\n") - 11))
    print(compared(block, *letters_of_poem(4)))


if __name__ == "__main__":
    torch.set_num_threads(1)  # products this small are slower on more
    main()
