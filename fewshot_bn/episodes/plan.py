"""How the episodes of a run are drawn from a dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fewshot_bn.datasets.dataset import Dataset
from fewshot_bn.episodes.by_group import sample_by_group
from fewshot_bn.episodes.disjoint import sample_disjoint
from fewshot_bn.episodes.episode import Episodes, EpisodeShape
from fewshot_bn.episodes.list_files import read_list
from fewshot_bn.episodes.lists import EpisodeList
from fewshot_bn.episodes.sampling import sample
from fewshot_bn.errors import DataError, UsageError

N_EPISODES = 600


@dataclass(frozen=True, slots=True)
class Plan:
    """`random` episodes, `disjoint` ones, or those of a list; `by_group` keeps groups together in random ones."""

    seed: int = 0
    kind: Literal["random", "disjoint", "list"] = "random"
    by_group: bool = False
    listed: EpisodeList | None = None

    def __post_init__(self) -> None:
        if self.by_group and self.kind != "random":
            raise UsageError(f"--by-group draws random episodes; it does not go with --episodes {self.kind}")

    @property
    def key(self) -> dict[str, Any]:
        """What decides the episodes besides dataset, shape and seed; nothing for plain random ones."""
        listed = {"fingerprint": self.listed.fingerprint} if self.listed else {}
        if self.kind == "random" and not self.by_group:
            return {}
        return {"episodes": {"kind": self.kind, "by_group": self.by_group, **listed}}

    def draw(self, dataset: Dataset, shape: EpisodeShape, n_episodes: int | None = None) -> Episodes:
        """The first `n_episodes`; by default 600, or as many disjoint or listed ones as there are.

        Raises `DataError` where the dataset has too few images or no groups.
        """
        try:
            return self._draw(dataset, shape, n_episodes)
        except DataError as problem:
            raise DataError(f"{dataset.name}: {problem}") from problem

    def first(self, dataset: Dataset, shape: EpisodeShape, n_episodes: int) -> Episodes:
        """As `draw`, but no more than there are."""
        if self.kind == "random":
            return self.draw(dataset, shape, n_episodes)
        return self.draw(dataset, shape)[:n_episodes]

    def draw_by_counts(
        self, class_sizes: Sequence[int], class_names: Sequence[str], shape: EpisodeShape, n_episodes: int | None
    ) -> Episodes:
        """Random or disjoint episodes of a dataset of which no more is known than the sizes of its classes."""
        if self.kind == "disjoint":
            return sample_disjoint(class_sizes, shape, seed=self.seed, n_episodes=n_episodes)
        n = N_EPISODES if n_episodes is None else n_episodes
        return sample(class_sizes, shape, seed=self.seed, n_episodes=n, class_names=class_names)

    def _draw(self, dataset: Dataset, shape: EpisodeShape, n_episodes: int | None) -> Episodes:
        if self.listed is not None:
            return self.listed.episodes(dataset, shape, n_episodes)
        sizes, names = dataset.class_sizes, dataset.class_names
        if not self.by_group:
            return self.draw_by_counts(sizes, names, shape, n_episodes)
        n = N_EPISODES if n_episodes is None else n_episodes
        if dataset.groups is None:
            raise DataError("its files do not say which images are of one group; --by-group needs a column of groups")
        groups = np.unique(np.array(dataset.groups), return_inverse=True)[1].astype(np.int64)
        return sample_by_group(sizes, groups, shape, seed=self.seed, n_episodes=n, class_names=names)


def make_plan(episodes: str, *, seed: int, by_group: bool) -> Plan:
    """`episodes` as `--episodes` has it: random, disjoint, or the path of a list."""
    if episodes in ("random", "disjoint"):
        return Plan(seed, "random" if episodes == "random" else "disjoint", by_group)
    path = Path(episodes)
    if not path.is_file():
        raise UsageError(f"--episodes {episodes!r} is neither random nor disjoint nor a file; see --help")
    return Plan(seed, "list", by_group, read_list(path))
