"""How many episodes are adapted at once, and what happens where memory runs out."""

import logging
from dataclasses import dataclass, replace

import torch

from fewshot_bn.adapters import Adapter
from fewshot_bn.adapters.contract import OwnsWeights
from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.errors import DeviceError

logger = logging.getLogger(__name__)

MOST_EPISODES = {"cpu": 64, "cuda": 256}  # for a tuner; for a probe it is MOST_PROBED
MOST_PROBED = {"cpu": 128, "cuda": 1024}
FEATURE_BYTES = {"cpu": 2**26, "cuda": 2**31}  # of a chunk of episodes
CPU_BYTES = 7 * 2**26  # with what torch and torchvision take, ResNet-50 at 224 px stays below 2 GiB
CUDA_SHARE = 0.7  # of the free memory; the rest is for what a step needs besides
HOST_BYTES = 2**29


@dataclass(frozen=True, slots=True)
class Portion:
    """How many episodes are adapted at once, and how many images of each go through the network together."""

    episodes: int
    images: int


def choose_portion(
    adapter: Adapter, backbone: Backbone, device: torch.device, *, n_support: int, n_query: int
) -> Portion:
    """As much as memory holds: for a probe by the size of its features, for a tuner by a trial with two images.

    `n_support` and `n_query` count the images of an episode. Measured on CPUs: larger batches are faster up to about
    that bound; on a GPU until its memory is full.
    """
    if adapter.takes == "features":
        per_episode = 4 * (n_support + n_query) * backbone.dim
        most = MOST_PROBED[device.type], FEATURE_BYTES[device.type] // per_episode
        return Portion(max(1, min(most)), n_support)
    image_bytes = 3 * backbone.preprocessing.crop_px**2
    per_image = max(1, adapter.bytes_per_image(backbone))
    together = adapter.images_together(n_support, n_query)
    beside = 4 * (n_support + n_query) * image_bytes
    beside += adapter.bytes_held(backbone) if isinstance(adapter, OwnsWeights) else 0
    room = _cuda_room(device) if device.type == "cuda" else CPU_BYTES
    most_by_host = HOST_BYTES // ((n_support + n_query) * image_bytes)
    episodes = min(MOST_EPISODES[device.type], room // (together * per_image + beside), most_by_host)
    return Portion(max(1, episodes), max(1, min(together, max(room - beside, room // 4) // per_image)))


def halved(portion: Portion, device: torch.device) -> Portion:
    """What to try next where memory has run out. Raises `DeviceError` where there is nothing left to halve."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if portion.episodes == portion.images == 1:
        raise DeviceError(
            f"{device}: out of memory with a single episode; take smaller images (--image-size), fewer support images "
            "or a smaller batch_size"
        )
    if portion.episodes > 1:
        logger.warning("%s: out of memory with %d episodes at once; going on with half", device, portion.episodes)
        return replace(portion, episodes=portion.episodes // 2)
    logger.warning("%s: out of memory with %d images at once; going on with half", device, portion.images)
    return replace(portion, images=portion.images // 2)


def _cuda_room(device: torch.device) -> int:
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for us
    return int(CUDA_SHARE * (torch.cuda.mem_get_info(device)[0] + held))
