"""`torchbp explain --lesson NAME`: small networks with a story, to be read as a page or a notebook."""

import re

import torch

from torchbp.explanation.explanation import explain
from torchbp.nn import MLP
from torchbp.ops.lessons.attention_head import AttentionHead
from torchbp.training.errors import SettingError

XOR = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
ARTICLE = ([[0.1, 0.2], [0.3, -0.4]], [0, 0.1], [[0.5, -0.6]], [0.2])
NAMES = "emma", "olivia", "ava"
WORD = "emma"
OTHERS = {"ckpt_path": None, "row": None, "y": None, "weights": None, "member": None, "saturate": False}
OTHERS["descent"] = "plain"  # keys of other networks, and what they are where they are not given

BESIDE = "does not go with --lesson, which has a network and rows of its own"


@torch.no_grad()
def _article(lr, steps):
    net = MLP(2, 2, 1, dtype=torch.float64)
    for parameter, numbers in zip(net.parameters(), ARTICLE, strict=True):
        parameter.copy_(torch.tensor(numbers))
    title = "The founding article's network: two inputs, two hidden units, one answer"
    return explain(net, [[1.0, 2.0]], [[1.0]], lr, title=title, steps=steps)


def _xor(lr, steps):
    torch.manual_seed(0)
    net = MLP(2, 4, 1, dtype=torch.float64)
    title = "The exclusive or: all four rows at once, as training takes them"
    y = [[float(a != b)] for a, b in XOR]
    return explain(net, XOR, y, lr, title=title, features=["a", "b"], outputs=["a xor b"], steps=steps)


def _makemore(lr, steps):
    """A row for each pair of neighbouring letters, with a dot before and after each name."""
    pairs = [pair for name in NAMES for pair in zip(f".{name}", f"{name}.", strict=True)]
    letters = sorted({letter for pair in pairs for letter in pair})
    places = torch.tensor([[letters.index(letter) for letter in pair] for pair in pairs])
    x = torch.nn.functional.one_hot(places[:, 0], len(letters)).double()
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(len(letters), 2, bias=False),  # row i of its transpose is the embedding of letter i
        torch.nn.Linear(2, 6),
        torch.nn.Tanh(),
        torch.nn.Linear(6, len(letters)),
    ).double()
    title = f"Which letter comes next? Pairs of letters of {', '.join(NAMES)}; a dot begins and ends a name"
    loss = torch.nn.CrossEntropyLoss()
    return explain(net, x, places[:, 1], lr, loss, title, features=letters, outputs=letters, steps=steps)


def _convolution(lr, steps):
    """Two images of four by four: an upright line and a lying one; one kernel of two by two."""
    upright, lying = torch.zeros(2, 4, 4)
    upright[:, 1], lying[2] = 1, 1
    x = torch.stack([upright, lying]).unsqueeze(1).double()
    torch.manual_seed(1)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 1, 2), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(9, 1)
    ).double()
    net[0].bias.data.zero_()
    title = "A convolution: one kernel of 2 × 2 weights slides over two images of 4 × 4, an upright and a lying line"
    pixels = [f"pixel {row},{column}" for row in range(1, 5) for column in range(1, 5)]
    return explain(net, x, [[1.0], [0.0]], lr, title=title, features=pixels, outputs=["upright"], steps=steps)


def _attention(lr, steps):
    """A row for each letter of a word; the answer is whether the letter occurs twice, which no row alone can say."""
    letters = sorted(set(WORD))
    x = torch.nn.functional.one_hot(torch.tensor([letters.index(letter) for letter in WORD])).double()
    y = [[float(WORD.count(letter) > 1)] for letter in WORD]
    torch.manual_seed(1)
    net = torch.nn.Sequential(AttentionHead(len(letters), 2), torch.nn.Linear(2, 1)).double()
    title = f"One attention head reads the letters of {WORD}, a row each: does the letter occur twice?"
    return explain(net, x, y, lr, title=title, features=letters, outputs=["twice"], steps=steps)


LESSONS = {
    "article": _article,
    "xor": _xor,
    "makemore": _makemore,
    "convolution": _convolution,
    "attention": _attention,
}


def refuse_beside_lesson(words):
    """Raises a SettingError for a word of the command line that sets another network, data or seed."""
    for word in words:
        if found := re.match(r"--(config|(data|model|trainer)\b[^=]*|seed_everything)", word):
            raise SettingError(f"{found[0]} {BESIDE}")


def lesson(settings):
    """The explanation of a lesson.

    Raises:
        SettingError: no such lesson, or a key that is of other networks.
    """
    if settings.lesson not in LESSONS:
        raise SettingError(f"--lesson {settings.lesson} is not known; use {', '.join(LESSONS)}")
    for key, unset in OTHERS.items():
        if getattr(settings, key) != unset:
            raise SettingError(f"--{key} {BESIDE}")
    try:
        return LESSONS[settings.lesson](1.0 if settings.lr is None else settings.lr, settings.steps)
    except (TypeError, ValueError) as error:  # of lr or steps
        raise SettingError(str(error)) from None
