"""The key of a result: everything that decides its answer, as plain values, and the file name made of it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import fewshot_bn
from fewshot_bn.adapters import Adapter, settings_of
from fewshot_bn.adapters.own import origin_of
from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.datasets.dataset import Dataset
from fewshot_bn.datasets.splits import Split
from fewshot_bn.episodes import EpisodeShape, Plan
from fewshot_bn.episodes.plan import sharing_parts
from fewshot_bn.evaluation.many_shot.grid import Grid
from fewshot_bn.evaluation.many_shot.modes import Classifier
from fewshot_bn.evaluation.many_shot.other_tests import OtherTest
from fewshot_bn.files.atomic import digest, plain_name
from fewshot_bn.settings import told

Key = dict[str, Any]


def few_shot_key(
    dataset: Dataset, backbone: Backbone, adapter: tuple[str, Adapter], *, shape: EpisodeShape | None, plan: Plan
) -> Key:
    """Dataset, backbone, adapter with its settings, shape and plan; two runs of one key give one answer.

    The shape is empty if each episode has one of its own.
    """
    name, settings = adapter
    return _plain(
        {
            **_subject(dataset, backbone),
            "adapter": {"name": name, "settings": settings_of(settings), "transductive": settings.transductive}
            | origin_of(settings),
            "shape": asdict(shape) if shape else {},
            "seed": plan.seed,
            **plan.key,
        }
    )


def many_shot_key(
    dataset: Dataset,
    backbone: Backbone,
    adapter: tuple[str, Classifier],
    *,
    split: Split,
    seed: int,
    grid: Grid | None = None,
    others: Sequence[OtherTest] = (),
) -> Key:
    """As `few_shot_key`, with a split instead of the shape of episodes.

    There may be a grid around the settings, and other datasets that are tested on.
    """
    name, settings = adapter
    sizes = {part: len(getattr(split, part)) for part in ("train", "val", "test")}
    rows = digest([part.astype("<i8").tobytes() for part in (split.train, split.val, split.test)])
    return _plain(
        {
            **_subject(dataset, backbone),
            "adapter": {"name": name, "settings": told(settings)} | ({"grid": asdict(grid)} if grid else {}),
            "split": {**sizes, "official": split.official, "fingerprint": rows},
            "seed": seed,
            **({"tests": {other.name: _images_of(other) for other in others}} if others else {}),
        }
    )


def _images_of(other: OtherTest) -> Key:
    dataset = other.source.images.dataset
    return {
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "card": dataset.card,
        "n_images": len(other.rows),
        "rows": digest([part.astype("<i8").tobytes() for part in (other.rows, other.labels)]),
    }


def _subject(dataset: Dataset, backbone: Backbone) -> Key:
    return {
        "fewshot_bn": fewshot_bn.__version__,
        "dataset": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "card": dataset.card,
            "n_images": len(dataset),
            "n_images_on_card": dataset.n_on_card,
            "classes": dict(zip(dataset.class_names, dataset.class_sizes, strict=True)),
        },
        "backbone": _network(backbone),
    }


def _network(backbone: Backbone) -> Key:
    facts = {
        "name": backbone.name,
        "weights": backbone.weights,
        "fingerprint": backbone.fingerprint,
        "card": backbone.card,
        "preprocessing": asdict(backbone.preprocessing),
    }
    return facts | ({"members": [_network(member) for member in backbone.members]} if backbone.members else {})


def _plain(key: dict[str, Any]) -> Key:
    """Tuples as lists, as they will be when read back."""
    plain: Key = json.loads(json.dumps(key))
    return plain


def file_name(key: Key) -> str:
    """A name that reads well and differs between keys; shards of one result have names alike."""
    shape, drawn = key.get("shape"), key.get("episodes", {})
    kind = ["many-shot"] if shape is None else [drawn.get("kind", "")]
    if shape:
        numbers = [f"{shape['n_way']}way", f"{shape['n_support']}shot", f"{shape['n_query']}query"]
        kind = [*numbers, *sharing_parts(drawn)]
    parts = [
        key["dataset"]["name"],
        key["backbone"]["name"],
        key["adapter"]["name"],
        *kind,
        f"seed{key['seed']}",
        digest([json.dumps({k: v for k, v in key.items() if k != "shard"}, sort_keys=True)])[:8],
    ]
    if "shard" in key:
        parts.append("shard{}of{}".format(*key["shard"].split("/")))
    return "_".join(map(plain_name, parts)) + ".json"
