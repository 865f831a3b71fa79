"""How well the probabilities of each class order the images: areas under ROC and precision-recall curves.

Images are ordered by the odds of a class, since probabilities that are 1 within rounding would be ties.

Shapes: logits [e q way], y [e q]. Units: fractions.
Source: Hanley and McNeil 1982, "The meaning and use of the area under a ROC curve"; Mann and Whitney 1947.
"""

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from torch import Tensor

ODDS_RESOLUTION = 2.0**30  # far above rounding of float64, so that rows of the same scores in another order are ties
NO_ORDER = 0.5  # the area if there is nothing to order


def area_under_roc(logits: Float[Tensor, "e q way"], y: Int64[Tensor, "e q"]) -> Float[Tensor, "e"]:
    """The mean over classes of the share of pairs, a query of the class and another, that its probability orders right.

    Ties count half. Classes that no query is of are left out; an episode with queries of one class only has 0.5.
    """
    odds = (log_odds(logits) * ODDS_RESOLUTION).round().mT.contiguous().cpu().numpy()
    is_of = y[:, None].cpu().numpy() == np.arange(logits.shape[2])[:, None]  # [e way q]
    n = is_of.sum(2)
    n_pairs = n * (is_of.shape[2] - n)
    n_right = (ranks(odds) * is_of).sum(2) - n * (n - 1) / 2  # Mann and Whitney's U
    areas, n_judged = n_right / np.maximum(n_pairs, 1), (n_pairs > 0).sum(1)
    mean = np.where(n_pairs > 0, areas, 0).sum(1) / np.maximum(n_judged, 1)
    return torch.from_numpy(np.where(n_judged > 0, mean, NO_ORDER))


def ranks(scores: Float64[ndarray, "*n q"]) -> Float64[ndarray, "*n q"]:
    """Each score's place in ascending order, from 0; scores that are equal share the mean of their places."""
    order = scores.argsort(-1)
    ordered = np.take_along_axis(scores, order, -1)
    place = np.arange(scores.shape[-1])
    is_next = ordered[..., 1:] != ordered[..., :-1]
    places = np.broadcast_to(place.astype(float), scores.shape)
    if not is_next.all():
        edge = np.ones_like(is_next[..., :1])
        first = np.maximum.accumulate(np.where(np.concatenate([edge, is_next], -1), place, 0), -1)
        ends = np.where(np.concatenate([is_next, edge], -1), place, place[-1])
        last = np.minimum.accumulate(ends[..., ::-1], -1)[..., ::-1]
        places = (first + last) / 2
    found = np.empty(scores.shape)
    np.put_along_axis(found, order, places, -1)
    return found


def mean_average_precision(logits: Float[Tensor, "e q way"], y: Int64[Tensor, "e q"]) -> Float[Tensor, "e"]:
    """The mean over the classes of the average precision of their probabilities; absent classes are left out."""
    from sklearn.metrics import average_precision_score

    means = []
    for scores, labels in zip(logits, y.cpu().numpy(), strict=True):
        odds = log_odds(scores).cpu().numpy()
        means.append(np.mean([average_precision_score(labels == k, odds[:, k]) for k in np.unique(labels)]))
    return torch.tensor(np.array(means), dtype=torch.float64)


def log_odds(logits: Float[Tensor, "*n way"]) -> Float[Tensor, "*n way"]:
    """They order images as the probabilities of a class do, also where those are all 1 within rounding."""
    z = logits.double().movedim(-1, 0).contiguous()  # sums over a first axis are quicker
    top, first = z.max(0, keepdim=True)
    powers = (z - top).exp()
    odds = z - top - (powers.sum(0) - powers).log()
    without_first = z.scatter(0, first, -torch.inf).logsumexp(0, keepdim=True)
    return odds.scatter(0, first, top - without_first).movedim(0, -1)
