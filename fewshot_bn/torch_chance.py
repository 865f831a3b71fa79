"""The streams of chance.py for torch: generators, and the state of its global one. Chance itself needs no torch."""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

from fewshot_bn import chance


def generator(seed: int, *path: str | int) -> torch.Generator:
    """A CPU generator at the start of the stream (seed, path), for torch's own initialisers."""
    generator = torch.Generator()
    return generator.manual_seed(int(chance.words(1, seed, *path)[0] >> np.uint64(1)))


@contextlib.contextmanager
def state(seed: int, *path: str | int) -> Iterator[None]:
    """Within it, torch's global CPU generator is at the start of the stream (seed, path); afterwards as before.

    For constructors of networks, which take no generator.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(generator(seed, *path).get_state())
        yield
