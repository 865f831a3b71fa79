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
from torch import Tensor
from torch.nn import functional as F

from fewshot_bn.adapters.tuning.batches import Support
from fewshot_bn.adapters.tuning.training import Training

SMALL = 0.02  # root mean square of the part of the step, in the units of what is trained


def with_rate_of_features(training: Training, support: Support) -> Training:
    """The training of one episode, the rate of its first group being a distance of features by the first step.

    That is the mean over the images of the first batch, of features of unit length. The values of that group start from
    zero. A first step that moves no feature, as without a gradient, has a rate of 0.
    """
    batch, body = next(iter(support.batches())), training.groups[0]
    others = [*(value for group in training.groups[1:] for value in group.values), *training.followers]
    before = [tensor.detach().clone() for tensor in others]

    def features() -> Tensor:
        with torch.no_grad():
            z = [F.normalize(training.features(part.stem), dim=-1) for part in training.parts(batch)]
            for tensor, start in zip(others, before, strict=True):
                tensor.copy_(start)
        return torch.cat(z, 1)

    started = features()
    optimiser, _ = training.optimiser(1)
    training.backward(batch)
    optimiser.step()
    optimiser.zero_grad()
    with torch.no_grad():
        size = torch.cat([value.flatten() for value in body.values]).square().mean().sqrt()
        for value in body.values:
            value.mul_(SMALL / size)
        distance = float((features() - started).norm(dim=-1).mean() * size / SMALL)
        for value in body.values:
            value.zero_()
    rate = body.lr**2 / distance if distance > 0 else 0.0
    return replace(training, groups=[replace(body, lr=rate), *training.groups[1:]])
