"""How the episodes of a run are drawn from a dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from fewshot_bn.datasets.dataset import Dataset
from fewshot_bn.episodes.by_group import sample_by_group
from fewshot_bn.episodes.disjoint import sample_disjoint
from fewshot_bn.episodes.episode import Episodes, EpisodeShape
from fewshot_bn.episodes.imbalanced import EQUAL, Sharing, sample_imbalanced
from fewshot_bn.episodes.list_files import read_list
from fewshot_bn.episodes.lists import EpisodeList
from fewshot_bn.episodes.meta_dataset import sample_meta_dataset
from fewshot_bn.episodes.sampling import sample
from fewshot_bn.errors import DataError, UsageError

N_EPISODES = 600
KINDS = ("random", "disjoint", "meta-dataset")
Kind = Literal["random", "disjoint", "meta-dataset", "list"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Episodes at `random`, `disjoint` ones, those of varying shape of `meta-dataset`, or those of a list.

    Of random ones, `by_group` keeps groups together, and `sharing` says how classes share the images where not equally.
    """

    seed: int = 0
    kind: Kind = "random"
    by_group: bool = False
    listed: EpisodeList | None = None
    sharing: Sharing = EQUAL

    def __post_init__(self) -> None:
        if self.by_group and self.kind != "random":
            raise UsageError(f"--by-group draws random episodes; it does not go with --episodes {self.kind}")
        if not self.sharing.is_equal and (self.by_group or self.kind != "random"):
            other = "--by-group" if self.by_group else f"--episodes {self.kind}"
            raise UsageError(f"--support-balance and --query-alpha change random episodes; they do not go with {other}")

    @property
    def key(self) -> dict[str, Any]:
        """What decides the episodes besides dataset, shape and seed; nothing for plain random ones."""
        listed = {"fingerprint": self.listed.fingerprint} if self.listed else {}
        if self == Plan(self.seed):
            return {}
        return {"episodes": {"kind": self.kind, "by_group": self.by_group, **listed, **self.shared}}

    @property
    def shared(self) -> dict[str, Any]:
        """What `sharing` says, as plain values; nothing of images that are shared equally."""
        support, alpha = self.sharing.support, self.sharing.query_alpha
        found = {"support_balance": None if support == "balanced" else support, "query_alpha": alpha}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def has_own_shapes(self) -> bool:
        """Whether each episode has a shape of its own."""
        return self.kind == "meta-dataset" or (self.listed is not None and self.listed.shape is None)

    @property
    def varies(self) -> bool:
        """Whether classes or episodes differ in their numbers of images."""
        return self.has_own_shapes or not self.sharing.is_equal

    def shapes(self, n_way: int, n_support: Sequence[int], n_query: int) -> list[EpisodeShape | None]:
        """One for each number of shots; or None, if each episode has a shape of its own.

        Raises `UsageError` for numbers that are asked for where they cannot be.
        """
        asked = [EpisodeShape(n_way, k, n_query) for k in dict.fromkeys(n_support)]
        if not self.has_own_shapes:
            return list(asked)
        if asked != [EpisodeShape()]:
            name = self.listed.path if self.listed else self.kind
            raise UsageError(
                f"the episodes of --episodes {name} have shapes of their own; leave --n-way, --n-support and --n-query "
                "out"
            )
        return [None]

    def draw(self, dataset: Dataset, shape: EpisodeShape | None, n_episodes: int | None = None) -> Episodes:
        """The first `n_episodes`; by default 600, or as many disjoint or listed ones as there are.

        `shape` is one of `shapes`. Raises `DataError` where the dataset has too few images or no groups.
        """
        try:
            return self._draw(dataset, shape, n_episodes)
        except DataError as problem:
            raise DataError(f"{dataset.name}: {problem}") from problem

    def first(self, dataset: Dataset, shape: EpisodeShape | None, n_episodes: int) -> Episodes:
        """As `draw`, but no more than there are."""
        if self.kind in ("random", "meta-dataset"):
            return self.draw(dataset, shape, n_episodes)
        return self.draw(dataset, shape)[:n_episodes]

    def draw_by_counts(
        self, class_sizes: Sequence[int], class_names: Sequence[str], shape: EpisodeShape | None, n_episodes: int | None
    ) -> Episodes:
        """Episodes that are neither listed nor by group, of a dataset of which only the sizes of its classes are known.

        Raises what `sample` raises.
        """
        n = N_EPISODES if n_episodes is None else n_episodes
        if self.kind == "meta-dataset":
            return sample_meta_dataset(class_sizes, seed=self.seed, n_episodes=n, class_names=class_names)
        shape = _given(shape)
        if self.kind == "disjoint":
            return sample_disjoint(class_sizes, shape, seed=self.seed, n_episodes=n_episodes)
        if self.sharing.is_equal:
            return sample(class_sizes, shape, seed=self.seed, n_episodes=n, class_names=class_names)
        return sample_imbalanced(
            class_sizes, shape, self.sharing, seed=self.seed, n_episodes=n, class_names=class_names
        )

    def _draw(self, dataset: Dataset, shape: EpisodeShape | None, n_episodes: int | None) -> Episodes:
        if self.listed is not None:
            return self.listed.episodes(dataset, shape, n_episodes)
        sizes, names = dataset.class_sizes, dataset.class_names
        if not self.by_group:
            return self.draw_by_counts(sizes, names, shape, n_episodes)
        n = N_EPISODES if n_episodes is None else n_episodes
        if dataset.groups is None:
            raise DataError("its files do not say which images are of one group; --by-group needs a column of groups")
        groups = np.unique(np.array(dataset.groups), return_inverse=True)[1].astype(np.int64)
        return sample_by_group(sizes, groups, _given(shape), seed=self.seed, n_episodes=n, class_names=names)


def _given(shape: EpisodeShape | None) -> EpisodeShape:
    if shape is None:
        raise UsageError("these episodes need a shape")
    return shape


def make_plan(
    episodes: str,
    *,
    seed: int,
    by_group: bool,
    support_balance: str = "balanced",
    query_alpha: float | None = None,
) -> Plan:
    """`episodes` as `--episodes` has it: one of `KINDS`, or the path of a list; the rest as its options have it."""
    sharing = Sharing(support_balance, query_alpha)
    if episodes in KINDS:
        return Plan(seed, cast("Kind", episodes), by_group, sharing=sharing)
    path = Path(episodes)
    if not path.is_file():
        raise UsageError(f"--episodes {episodes!r} is neither {' nor '.join(KINDS)} nor a file; see --help")
    return Plan(seed, "list", by_group, read_list(path), sharing)


def plan_of(drawn: Mapping[str, Any], seed: int) -> Plan:
    """The plan of which a key or the header of a list says this, if it is no list itself."""
    sharing = Sharing(drawn.get("support_balance", "balanced"), drawn.get("query_alpha"))
    return Plan(seed, drawn["kind"], drawn["by_group"], sharing=sharing)


def sharing_parts(drawn: Mapping[str, Any]) -> list[str]:
    """The parts of a file name that say how classes share the images, where not equally."""
    support = [f"{drawn['support_balance']}-support"] if "support_balance" in drawn else []
    return support + ([f"alpha{drawn['query_alpha']:g}"] if "query_alpha" in drawn else [])
