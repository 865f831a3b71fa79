"""From a config to what is computed on: the dataset and the backbone that it names, or is given."""

import torch

from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.backbones.concatenation import with_contract
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.backbones.named_preprocessing import preprocessing_of
from fewshot_bn.config import SourceConfig
from fewshot_bn.datasets import Dataset, open_dataset
from fewshot_bn.files import paths
from fewshot_bn.inputs.features import Features
from fewshot_bn.inputs.images import Images
from fewshot_bn.inputs.members import MemberFeatures
from fewshot_bn.inputs.source import Source
from fewshot_bn.inputs.store import Store
from fewshot_bn.preprocessing import Preprocessing, with_geometry
from fewshot_bn.runtime import move


def open_source(config: SourceConfig, device: torch.device) -> Source:
    """Nothing is decoded or computed yet. Raises what `open_dataset` and `load_backbone` raise."""
    dataset, backbone = dataset_of(config, config.dataset), _backbone(config, device)

    def asked(own: Preprocessing) -> Preprocessing:
        own = preprocessing_of(config.preprocessing, lambda: own)  # what was loaded by name has it already
        return with_geometry(own, config.preset, config.image_px, dataset.first_resize_px)

    return source_of(config, dataset, with_contract(backbone, asked), device)


def source_of(config: SourceConfig, dataset: Dataset, backbone: Backbone, device: torch.device) -> Source:
    """The images of a dataset under a backbone that is on the device."""
    contracts = [one.preprocessing for one in (backbone, *backbone.members)]
    stores = {contract.geometry: _store(config, dataset, contract) for contract in contracts}
    cache = paths.cache_root() if config.keep_features else None

    def images_of(one: Backbone) -> Images:
        return Images(dataset, one.preprocessing, store=stores[one.preprocessing.geometry])

    members = [Features(images_of(one), one, device=device, cache=cache) for one in backbone.members]
    images = images_of(backbone)
    whole = MemberFeatures(images, backbone, members) if members else None
    return Source(images, backbone, whole or Features(images, backbone, device=device, cache=cache), device)


def _store(config: SourceConfig, dataset: Dataset, preprocessing: Preprocessing) -> Store | None:
    return Store(dataset, preprocessing, paths.store_root()) if config.keep_pixels else None


def dataset_of(config: SourceConfig, dataset: str | Dataset) -> Dataset:
    """What a field of the config names, or is. Raises what `open_dataset` raises."""
    if isinstance(dataset, Dataset):
        return dataset
    return open_dataset(dataset, root=config.data_root, strict=config.strict)


def _backbone(config: SourceConfig, device: torch.device) -> Backbone:
    if isinstance(config.model, Backbone):
        move(config.model.module, device)
        return config.model
    return load_backbone(
        config.model,
        weights=config.weights,
        preprocessing=config.preprocessing,
        root=config.model_root,
        device=device,
        strict=config.strict,
    )
