"""What results keep of episodes that vary: the numbers of images of their classes."""

from dataclasses import replace

from fewshot_bn.episodes.episode import NO_ROW, Episodes
from fewshot_bn.evaluation.loop import Outcome

BY_CLASS = {"support": "n_support_by_class", "query": "n_query_by_class"}  # measures of episodes that vary


def with_sizes(outcome: Outcome, episodes: Episodes) -> Outcome:
    """The outcome of these episodes, with their numbers of images by class: needed in results of those that vary."""
    real = episodes.classes != NO_ROW
    kept = {
        BY_CLASS[role]: tuple(row[there].tolist() for row, there in zip(counts, real, strict=True))
        for role, counts in (("support", episodes.n_support), ("query", episodes.n_query))
    }
    return replace(outcome, measures={**outcome.measures, **kept})
