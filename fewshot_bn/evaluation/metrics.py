"""How far predicted probabilities can be trusted: negative log-likelihood and expected calibration error.

Probabilities are the softmax of the scores, whatever an adapter's scores are. The error gathers queries in 15 bins of
equal width by the probability of the predicted class; |Σ correct - Σ probability| of each bin, over all queries of all
episodes, is summed and divided by their number. So per episode and bin one number is kept, the gap: correct predictions
less the sum of their probabilities.

Shapes: logits [e q way], y [e q]. Units: natural logarithms; fractions.
Source: Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599, eq. 3 and 6.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

N_BINS = 15


def negative_log_likelihood(logits: Float[Tensor, "e q way"], y: Int64[Tensor, "e q"]) -> Float[Tensor, "e"]:
    """The mean over the queries of each episode."""
    return F.cross_entropy(logits.double().mT, y, reduction="none").mean(1)


def calibration_gaps(logits: Float[Tensor, "e q way"], y: Int64[Tensor, "e q"]) -> Float[Tensor, "e bins"]:
    """Correct predictions less the sum of their probabilities, by episode and bin."""
    probability, predicted = logits.double().softmax(-1).max(-1)
    gap = (predicted == y).double() - probability
    place = (probability * N_BINS).ceil().long().clamp(1, N_BINS) - 1
    return gap.new_zeros(len(gap), N_BINS).scatter_add_(1, place, gap)


def expected_calibration_error(gaps: Sequence[Sequence[float]], n_queries: int) -> float:
    """Of all episodes together, each of `n_queries` queries."""
    return float(np.abs(np.sum(gaps, axis=0)).sum()) / (len(gaps) * n_queries)
