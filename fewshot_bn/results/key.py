"""The identity of a result: everything that decides its answer, as plain values, and the file name made of it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import fewshot_bn
from fewshot_bn.adapters import Adapter, settings_of
from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.datasets.dataset import Dataset
from fewshot_bn.datasets.splits import Split
from fewshot_bn.episodes import EpisodeShape, Plan
from fewshot_bn.errors import ResultError
from fewshot_bn.evaluation.linear import LinearEvaluation
from fewshot_bn.files.atomic import digest, plain_name

Identity = dict[str, Any]


def identity_of(
    dataset: Dataset, backbone: Backbone, adapter: tuple[str, Adapter], *, shape: EpisodeShape, plan: Plan
) -> Identity:
    """Dataset, backbone, adapter with its settings, shape and plan; two runs of one identity give one answer."""
    name, settings = adapter
    return _plain(
        {
            **_subject(dataset, backbone),
            "adapter": {"name": name, "settings": settings_of(settings), "transductive": settings.transductive},
            "shape": asdict(shape),
            "seed": plan.seed,
            **plan.identity,
        }
    )


def many_shot_identity(
    dataset: Dataset, backbone: Backbone, adapter: tuple[str, LinearEvaluation], *, split: Split, seed: int
) -> Identity:
    """As `identity_of`, with a split instead of the shape of episodes."""
    name, settings = adapter
    sizes = {part: len(getattr(split, part)) for part in ("train", "val", "test")}
    rows = digest([part.astype("<i8").tobytes() for part in (split.train, split.val, split.test)])
    return _plain(
        {
            **_subject(dataset, backbone),
            "adapter": {"name": name, "settings": asdict(settings)},
            "split": {**sizes, "official": split.official, "fingerprint": rows},
            "seed": seed,
        }
    )


def _subject(dataset: Dataset, backbone: Backbone) -> Identity:
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
        "backbone": {
            "name": backbone.name,
            "weights": backbone.weights,
            "fingerprint": backbone.fingerprint,
            "card": backbone.card,
            "preprocessing": asdict(backbone.preprocessing),
        },
    }


def _plain(identity: dict[str, Any]) -> Identity:
    """Tuples as lists, as they will be when read back."""
    plain: Identity = json.loads(json.dumps(identity))
    return plain


def file_name(identity: Identity) -> str:
    """A name that reads well and differs between identities; shards of one result have names alike."""
    shape = identity.get("shape")
    kind = ["many-shot"]
    if shape is not None:
        kind = [f"{shape['n_way']}way", f"{shape['n_support']}shot", f"{shape['n_query']}query"]
    parts = [
        identity["dataset"]["name"],
        identity["backbone"]["name"],
        identity["adapter"]["name"],
        *kind,
        f"seed{identity['seed']}",
        digest([json.dumps({k: v for k, v in identity.items() if k != "shard"}, sort_keys=True)])[:8],
    ]
    if "shard" in identity:
        parts.append("shard{}of{}".format(*identity["shard"].split("/")))
    return "_".join(map(plain_name, parts)) + ".json"


def check_same(path: Path, found: Identity, wanted: Identity) -> None:
    """Raise `ResultError` where the result in `path` is not the one that is wanted."""
    if found != wanted:
        raise ResultError(
            f"{path}: holds a result of other settings ({difference(found, wanted)}); "
            "move it away or choose another folder with --output"
        )


def difference(found: Any, wanted: Any, where: str = "") -> str:
    """The first place where two identities differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in [*wanted, *found]:
            if found.get(key) != wanted.get(key):
                return difference(found.get(key), wanted.get(key), f"{where}.{key}" if where else str(key))
    return f"{where} is {found!r} there and {wanted!r} here"
