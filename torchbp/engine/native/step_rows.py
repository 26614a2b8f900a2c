"""The rows of several steps: those of each step, or tables of rows and their places in them."""

import torch

from torchbp.engine.fitting.rows import gathered


class StepRows:
    """The rows of K steps.

    x, y: (K, N, …) or, of each member of an ensemble its own, (K, E, N, …). With `places`, (K · N) or (E, K · N), the
    tables where the rows lie at those places, (rows, …) or (E, rows, …); N is `count` then.
    shared: of x and of y, whether all members have the same rows.
    """

    def __init__(self, x, y, count, places, members, of_classes=False):
        self.x, self.y = (t.contiguous().resolve_neg() if is_in_memory(t) else t for t in (x, y))
        self.places, self.members = places, members
        self.of_classes = of_classes  # whether y has no last dimension
        of_steps = places is None
        self.shared_dims = 2 + of_steps, 2 + of_steps - of_classes  # dimensions of what all members share
        self.tables_of_members = x.dim() > self.shared_dims[0], y.dim() > self.shared_dims[1]
        own = not of_steps and places.dim() > 1
        self.shared = tuple(members is None or not (own or of_members) for of_members in self.tables_of_members)
        self.steps = len(x) if of_steps else places.shape[-1] // count
        self.count = x.shape[-2] if of_steps else count

    def fit_program(self):
        """Whether a program can take their shapes: as many of x as of y, and as many members as there are."""
        of_steps, heights = self.places is None, []
        for t, dims, of_members in zip((self.x, self.y), self.shared_dims, self.tables_of_members, strict=True):
            if t.dim() != dims + of_members or (of_members and t.shape[of_steps] != self.members):
                return False
            heights.append(t.shape[of_steps + of_members])
        if self.places is not None and self.places.dim() > 1 and len(self.places) != self.members:
            return False
        return heights[0] == heights[1] and self.x.numel() > 0 and self.count > 0

    @property
    def key(self):
        tails = self.x.shape[-1], self.y.shape[-1] if not self.of_classes else None
        return self.count, tails, self.x.dtype, self.y.dtype, self.shared, self.places is None

    def example(self):
        """The rows of a first step, of one network or of a first member, (1, N, …) where they are not shared."""
        if self.places is None:
            return [t[0] if shared else t[0, :1] for t, shared in zip((self.x, self.y), self.shared, strict=True)]
        places = self.places[..., : self.count]
        rows = []
        for t, shared, of_members in zip((self.x, self.y), self.shared, self.tables_of_members, strict=True):
            first = places if places.dim() == 1 else places[0]
            table = t[0] if of_members else t
            rows.append(table[first] if shared else table[first].unsqueeze(0))
        return rows

    def of_step(self, step):
        """x and y of one step, as the engine's step takes them."""
        if self.places is None:
            return self.x[step], self.y[step]
        places = self.places[..., step * self.count : (step + 1) * self.count]
        return gathered(self.x, places, 1, None), gathered(self.y, places, 1 - self.of_classes, None)

    def strides(self):
        """Of x and of y: how far it is from one member's rows to the next one's, and from one step's."""
        for t, shared, of_members in zip((self.x, self.y), self.shared, self.tables_of_members, strict=True):
            if self.places is None:
                yield (0 if shared else t.stride(1)), t.stride(0)
            else:
                yield (t.stride(0) if of_members else 0), 0

    def repeated(self, steps):
        """The rows of so many steps, again from the first where they are of fewer."""
        times = -(-steps // self.steps)
        if self.places is None:
            x, y = (t[:steps].repeat(times, *[1] * (t.dim() - 1))[:steps] for t in (self.x, self.y))
            return StepRows(x, y, None, None, self.members, self.of_classes)
        size = steps * self.count
        places = self.places[..., :size].repeat(*[1] * (self.places.dim() - 1), times)[..., :size].contiguous()
        return StepRows(self.x, self.y, self.count, places, self.members, self.of_classes)


def is_in_memory(t):
    """Whether the numbers of a tensor lie where its pointer says: not those of a fake one, or of a subclass."""
    return t.is_cpu and t.layout is torch.strided and type(t) in (torch.Tensor, torch.nn.Parameter)


def check_indices(limits, x, y, ignored):
    """Raises an IndexError for an index among the rows, such as a class, that is out of range.

    Args:
        limits: "x" or "y", which hold indices: the number that they must be under.
        ignored: a number that y may be all the same, or None.
    """
    for name, limit in limits.items():
        t = x if name == "x" else y
        low, high = (bound.item() for bound in t.aminmax())
        if low >= 0 and high < limit:
            continue
        wrong = (t < 0) | (t >= limit)
        if name == "y" and ignored is not None:
            wrong &= t != ignored
        if wrong.any():
            raise IndexError(f"{name} holds {t[wrong][0].item()}, which is not in 0 … {limit - 1}")
