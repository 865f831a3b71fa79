"""Layers in which episodes differ: what takes the place of a frozen layer in the network that all episodes share.

E episodes of n images are one ordinary batch of E*n images for everything else in a network; the images of an episode
lie next to each other. Here they meet what belongs to their episode, so no episode ever sees another.
"""

from typing import ClassVar

from torch import Tensor, nn

from fewshot_bn.errors import ModelError


class EpisodicLayer(nn.Module):
    """What all kinds share: the number of episodes, and that of the images of a batch, set before each pass.

    Whatever differs between episodes are tensors [e ...] of the layer, set from outside before a pass.
    """

    title: ClassVar[str]

    def __init__(self, n_episodes: int) -> None:
        super().__init__()
        self.n_episodes = n_episodes
        self.n_images = 0

    @property
    def size(self) -> str:
        """E.g. 64 channels."""
        raise NotImplementedError

    def check(self, x: Tensor) -> None:
        """Raise `ModelError` where the first axis of the input is not the images of the batch."""
        if len(x) != self.n_images:
            raise ModelError(
                f"a {self.title} layer of {self.size} gets {len(x)} rows for {self.n_images} images; only where the "
                "first axis is the images can it be tuned episode by episode: leave it out with scope"
            )
