"""How far the first step of a training moves the features: the unit of a rate that suits one network and another.

What a step of a given length does to a network differs between networks, and between episodes, by more than ten times:
with depth, with how its layers amplify one another, with what the images excite. The distance by which the features
move is what a rate is meant to say.

The step is that of the optimiser itself on its first batch. A small part of it is taken and undone, and the distance
counted for the whole, since a whole step may leave the region in which they are in proportion.

Source: step lengths by what a step does to the outputs: Pascanu and Bengio 2014, arXiv:1301.3584, natural gradients.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fewshot_bn.adapters.tuning.batches import Batches
from fewshot_bn.adapters.tuning.training import Training, set_between


def with_rate_of_features(training: Training, support: Batches, small: float) -> Training:
    """The training, its first rate being a distance of features by the first step; other rates but the head's follow.

    That is the mean over the images of the first batch of an episode, of features of unit length. Tried is a part of
    the step that moves what is trained by a root mean square of `small`. Where the first step moves no feature, as
    without a gradient, the rate is 0.
    """
    batch, n_episodes = next(iter(support.batches())), len(support.y)
    body, changing = training.body, training.changing
    starts = [_kept(tensor) for tensor in changing]
    starts_of_body = starts[: len(body)]

    def features() -> Float[Tensor, "e b d"]:
        with torch.no_grad():
            return torch.cat([F.normalize(training.features(part.stem), dim=-1) for part in training.parts(batch)], 1)

    started = features()
    optimiser, _ = training.optimiser(1)
    training.backward(batch)
    optimiser.step()
    optimiser.zero_grad()
    del optimiser  # it keeps as much as twice what is trained
    size = _root_mean_square(body, starts_of_body, n_episodes)
    part = torch.where(size > 0, small / size, 0)
    set_between(body, starts_of_body, part)
    distance = (features() - started).norm(dim=-1).mean(1) / part
    set_between(changing, starts, torch.zeros_like(part))
    factors = torch.where(distance > 0, training.groups[0].lr / distance, 0)
    if n_episodes > 1:
        return replace(training, factors=factors)
    *groups, head = training.groups
    return replace(training, groups=[*(replace(group, lr=group.lr * float(factors)) for group in groups), head])


@torch.no_grad()
def _kept(tensor: Tensor) -> Tensor:
    """A copy; one of zeros takes no memory."""
    return tensor.clone() if tensor.any() else tensor.new_zeros(()).expand(tensor.shape)


@torch.no_grad()
def _root_mean_square(values: list[Tensor], starts: list[Tensor], n_episodes: int) -> Float[Tensor, "e"]:
    """Of how far the values of each episode have come."""
    pairs = zip(values, starts, strict=True)
    sums = [(value - start).square().reshape(n_episodes, -1).sum(1) for value, start in pairs]
    return (torch.stack(sums).sum(0) * n_episodes / sum(value.numel() for value in values)).sqrt()
