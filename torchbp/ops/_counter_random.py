"""Random numbers that are a function of a key and of their place, and of nothing else.

    h ← i ⊕ k₁;   h ← (h ⊕ h ≫ 16) m₁ + k₂;   h ← (h ⊕ h ≫ 15) m₂        of the place i, modulo 2³²

These are the rounds of the hash lowbias32 (https://nullprogram.com/blog/2018/07/31/) without its last one, which only
mends the low bits: the numbers are compared, so the high ones decide. k₁ and k₂, 32 bits each, are the key. A step adds
a constant to both, so that each step has numbers of its own, 2³² of them before they come again.

The same numbers come out on any device, in eager code and compiled, and for a member of an ensemble as for the network
alone. No state of a random stream is touched.
"""

import torch

M1, M2 = 0x7FEB352D, 0x846CA68B - 2**32  # as int32, whose products wrap
STEP = 0x9E3779B9 - 2**32  # 2³²/φ, odd
MASK64 = 2**64 - 1


def bits(key, count):
    """`count` int32, uniform over all of them: of a key (2) the shape is (count), of keys (E, 2) it is (E, count)."""
    h = torch.arange(count, dtype=torch.int32, device=key.device) ^ key[..., :1]
    h.bitwise_xor_((h >> 16).bitwise_and_(0xFFFF))  # ≫ of a negative number brings in ones
    h *= M1
    h += key[..., 1:]
    h.bitwise_xor_((h >> 15).bitwise_and_(0x1FFFF))
    h *= M2
    return h


def kept(key, count, p):
    """Bools in the shape of `bits`, each true with probability 1 − p. p is a number below 1, or a tensor of
    one, or of one for each member (E)."""
    if isinstance(p, torch.Tensor):
        least = (p.double() * 2**32).floor_().sub_(2**31).clamp_(max=2**31 - 1).to(torch.int32).unsqueeze(-1)
    else:
        least = min(int(p * 2**32) - 2**31, 2**31 - 1)
    return bits(key, count) >= least


def advance(key):
    """The key of the next step, in place."""
    key.add_(STEP)


def drawn_keys(shape, generator=None):
    """Keys (*shape, 2) from a random stream of the CPU; None is torch's global one."""
    return torch.randint(-(2**31), 2**31, (*shape, 2), dtype=torch.int32, generator=generator, device="cpu")


def key_of(seed, number=0):
    """The key of a seed, an integer, for the layer of this number: two rounds of splitmix64."""
    z = seed & MASK64
    for add in (0x9E3779B97F4A7C15, number * 0xD1342543DE82EF95 + 1):
        z = (z + add) & MASK64
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK64
        z ^= z >> 31
    return torch.tensor([z >> 32, z & 0xFFFFFFFF], device="cpu").sub_(2**31).to(torch.int32)
