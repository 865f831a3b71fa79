"""Probes that classify in the end: solved on the features of a network in one or several views of the images.

Class probabilities are averaged over views and probes; the scores are the logarithm of that mean. With one support
image per class `lr+ridge` is `lr`: leaving an image out takes its class away, which leaves ridge nothing to choose its
penalty by.

Shapes: features of support and queries z_s [e n d], z_q [e q d], labels y_s [e n]; scores [e q way].
"""

import math
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from fewshot_bn.adapters.contract import Fit, Probe, count_ways
from fewshot_bn.adapters.probes.lr import LogisticRegression
from fewshot_bn.adapters.probes.ridge import Ridge

RIDGE_SHARPNESS = 8.0  # of its scores, which are near 0 or 1, before the softmax; from the development sets
_LR, _RIDGE = (LogisticRegression(), 1.0), (Ridge(), RIDGE_SHARPNESS)
READOUTS: dict[str, tuple[tuple[Probe, float], ...]] = {"lr": (_LR,), "ridge": (_RIDGE,), "lr+ridge": (_LR, _RIDGE)}

Views = Iterable[tuple[Float[Tensor, "e n d"], Float[Tensor, "e q d"]]]


def read_out(name: str, views: Views, y_s: Int64[Tensor, "e n"]) -> tuple[Float[Tensor, "e q way"], Bool[Tensor, "e"]]:
    """The scores of the readout `name` on the features of every view; and in which episodes all of it is solved."""
    one_shot = y_s.shape[1] == count_ways(y_s)
    probes = READOUTS["lr" if name == "lr+ridge" and one_shot else name]
    scores, solved = [], torch.ones(len(y_s), dtype=torch.bool, device=y_s.device)
    for z_s, z_q in views:
        for probe, sharpness in probes:
            fit = _solve(probe, z_s, y_s, z_q)
            scores.append(sharpness * fit.logits)
            solved &= fit.converged
    return mean_probabilities(scores), solved


def mean_probabilities(scores: Sequence[Float[Tensor, "e q way"]]) -> Float[Tensor, "e q way"]:
    """The logarithm of the mean of the class probabilities; of a single kind of scores, these as they are."""
    if len(scores) == 1:
        return scores[0]
    return torch.stack(list(scores)).log_softmax(-1).logsumexp(0) - math.log(len(scores))


def _solve(probe: Probe, z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], z_q: Float[Tensor, "e q d"]) -> Fit:
    """The answer of the probe; not finite for the episodes whose features are not."""
    finite = z_s.isfinite().all((1, 2)) & z_q.isfinite().all((1, 2))
    z_s, z_q = (torch.where(finite[:, None, None], z, 0) for z in (z_s, z_q))
    fit = probe(z_s, y_s, z_q)
    logits = torch.where(finite[:, None, None], fit.logits, torch.nan)
    return Fit(logits, fit.steps, fit.converged & finite)
