"""Episodes: which dataset rows are support and which are query, drawn at random, by group, disjoint, or from a list."""

from fewshot_bn.episodes.by_group import sample_by_group
from fewshot_bn.episodes.disjoint import n_disjoint, sample_disjoint
from fewshot_bn.episodes.episode import Episodes, EpisodeShape
from fewshot_bn.episodes.list_files import frozen_list, read_list, write_list
from fewshot_bn.episodes.plan import Plan, make_plan
from fewshot_bn.episodes.sampling import sample

__all__ = [
    "EpisodeShape",
    "Episodes",
    "Plan",
    "frozen_list",
    "make_plan",
    "n_disjoint",
    "read_list",
    "sample",
    "sample_by_group",
    "sample_disjoint",
    "write_list",
]
