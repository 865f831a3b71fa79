"""The only source of randomness: stateless, a pure function of (seed, path).

A path says what is being drawn, e.g. ("images", episode, class): each path has a stream of its own, so nothing
depends on how many draws came before it, in which order, in which process or on which device.

Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox). The raw 64-bit words of a bit
generator are the same on every platform and numpy version; numpy's distributions are not, so none is used here.

For torch there are generators, and the state of its global one; numbers alone need no torch.
"""

import contextlib
import math
import threading
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, Int64, UInt64
from numpy import ndarray

from fewshot_bn.errors import UsageError

if TYPE_CHECKING:
    import torch

MAX_SEED = 2**63 - 1
_one_at_a_time = threading.RLock()


def check_seed(seed: int) -> None:
    if not 0 <= seed <= MAX_SEED:
        raise UsageError(f"seed is {seed}; it must be between 0 and {MAX_SEED}")


def words(n: int, seed: int, *path: str | int) -> UInt64[ndarray, "n"]:
    """`n` random 64-bit words of the stream (seed, path)."""
    check_seed(seed)
    spawn_key = tuple(zlib.crc32(part.encode()) if isinstance(part, str) else part for part in path)
    sequence = np.random.SeedSequence(seed, spawn_key=spawn_key)
    raw: UInt64[ndarray, "n"] = np.random.Philox(sequence).random_raw(n)
    return raw


def permutation(n: int, seed: int, *path: str | int) -> Int64[ndarray, "n"]:
    """A uniformly random order of 0..n-1: the order of n random words, each made unique by its own position."""
    n_low_bits = np.uint64(max(n - 1, 1).bit_length())
    low = (np.uint64(1) << n_low_bits) - np.uint64(1)
    keys = (words(n, seed, *path) & ~low) | np.arange(n, dtype=np.uint64)
    keys.sort()  # no ties, so every sorting algorithm gives this order
    return (keys & low).astype(np.int64)


def uniforms(n: int, seed: int, *path: str | int) -> Float64[ndarray, "n"]:
    """`n` numbers between 0 and 1, never 0 or 1 themselves, from the words of the stream (seed, path)."""
    return ((words(n, seed, *path) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def log_gammas(alpha: float, n: int, seed: int, *path: str | int) -> list[float]:
    """The logarithms of `n` numbers of the distribution Gamma(alpha, 1); for a small alpha these would round to 0.

    The first logarithms are the same for every n.

    Source: Marsaglia and Tsang 2000, "A simple method for generating gamma variables", sections 2 and 6.
    """
    d = (alpha if alpha >= 1 else alpha + 1) - 1 / 3
    found: dict[int, float] = {}
    trial = 0
    while len(found) < n:
        for i, (u1, u2, u3, u4) in enumerate(uniforms(4 * n, seed, *path, trial).reshape(n, 4).tolist()):
            normal = math.sqrt(-2 * math.log(u1)) * math.cos(2 * math.pi * u2)  # Box and Muller
            v = (1 + normal / math.sqrt(9 * d)) ** 3
            if i not in found and v > 0 and math.log(u3) < normal**2 / 2 + d * (1 - v + math.log(v)):
                found[i] = math.log(d * v) + (math.log(u4) / alpha if alpha < 1 else 0)
        trial += 1
    return [found[i] for i in range(n)]


def torch_generator(seed: int, *path: str | int) -> "torch.Generator":
    """A CPU generator at the start of the stream (seed, path), for torch's own initialisers."""
    import torch

    generator = torch.Generator()
    return generator.manual_seed(int(words(1, seed, *path)[0] >> np.uint64(1)))


@contextlib.contextmanager
def torch_state(seed: int, *path: str | int) -> Iterator[None]:
    """Within it, torch's global CPU generator is at the start of the stream (seed, path); afterwards as before.

    For constructors of networks, which take no generator. One thread at a time: the generator is the process's.
    """
    import torch

    with _one_at_a_time, torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(torch_generator(seed, *path).get_state())
        yield
