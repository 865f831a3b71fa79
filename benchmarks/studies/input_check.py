"""Which symptoms a wrong normalisation shows, and how often the input check finds it.

    python -m benchmarks.studies.input_check --data-dev ../shared/data-dev --data ../shared/data \
        --weights ../shared/weights --output FOLDER

Real weights under the right contract and under wrong ones, on the development sets and digits, by which the bounds were
chosen, and on the four target sets, which only confirm them. FOLDER gets a table, and symptoms.jsonl with every number.
`distance` is the largest symptom by its bound (inputs/input_statistics.py): a run warns above 1.
"""

import argparse
import copy
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from benchmarks.studies.experiments import CARDS
from fewshot_bn.backbones.backbone import Backbone, with_preprocessing
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.backbones.padding import pad_same
from fewshot_bn.datasets import card_of, open_dataset
from fewshot_bn.inputs.images import Images, normalise
from fewshot_bn.inputs.input_check import COMMON, common_fit
from fewshot_bn.inputs.input_statistics import Symptoms, Watch
from fewshot_bn.preprocessing import with_geometry

DEVELOPMENT = ("gtsrb", "herlev_pap", "plankton", "trashnet", "digits")
TARGETS = ("eurosat", "isic", "chestx", "cropdisease")
BACKBONES = {  # and the size of its images
    "mobilenet_v2_035": 96,
    "mobilenet_v1_025": 112,
    "conv4": 84,
    "resnet20": 32,
    "fractal_resnet8": 32,
}
CPU = torch.device("cpu")

Triple = tuple[float, float, float]


def wrong_normalisations(mean: Triple, std: Triple) -> Iterator[tuple[str, tuple[Triple, Triple]]]:
    """By what they are, for a network that was trained with `mean` and `std`."""
    for name, values in COMMON.items():
        if values != (mean, std):
            yield f"{name} instead", values
    once, twice = zip(*((m + s * m, s * s) for m, s in zip(mean, std, strict=True)), strict=True)
    yield "normalised twice", (once, twice)
    if mean != std:
        yield "mean and std swapped", (std, mean)


def contracts(backbone: Backbone, pixels: UInt8[Tensor, "n 3 h w"]) -> Iterator[tuple[str, Backbone, Tensor]]:
    """What goes wrong, the backbone and the pixels of it."""
    right = backbone.preprocessing
    yield "right", backbone, pixels
    for name, (mean, std) in wrong_normalisations(right.mean, right.std):
        yield name, replace(backbone, preprocessing=replace(right, mean=mean, std=std)), pixels
    yield "BGR", backbone, pixels.flip(1)
    yield "inverted", backbone, 255 - pixels
    yield "dark: 4 of 8 bits", backbone, pixels // 16
    yield "other padding", replace(backbone, module=other_padding(backbone.module)), pixels
    yield "eps of BatchNorm x 100", replace(backbone, module=other_eps(backbone.module)), pixels


def other_padding(network: nn.Module) -> nn.Module:
    changed = copy.deepcopy(network)
    pad_same(changed)
    return changed


def other_eps(network: nn.Module) -> nn.Module:
    changed = copy.deepcopy(network)
    for module in changed.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps *= 100
    return changed


def seen(backbone: Backbone, pixels: UInt8[Tensor, "n 3 h w"], batch: int = 64) -> Symptoms:
    watch = Watch(backbone.module)
    for part in pixels.split(batch):
        with watch.on(part):
            backbone.features(normalise(part, backbone.preprocessing, CPU))
    found = watch.symptoms()
    return replace(found, fits=common_fit(backbone, pixels[:batch], CPU)) if found.distance > 1 else found


def rows(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for name, side_px in BACKBONES.items():
        card = CARDS / f"{name}.toml"
        backbone = load_backbone(str(card) if card.exists() else name, root=args.weights)
        backbone = with_preprocessing(backbone, with_geometry(backbone.preprocessing, None, side_px))
        for dataset in DEVELOPMENT + TARGETS:
            shipped = card_of(dataset) is not None
            images = open_dataset(dataset if shipped else str(args.data_dev / dataset), root=args.data)
            some = np.linspace(0, len(images) - 1, args.n_images).astype(int)
            pixels = Images(images, backbone.preprocessing).gather(some)
            for contract, given, x in contracts(backbone, pixels):
                found = seen(given, x)
                where = {"backbone": name, "dataset": dataset, "contract": contract}
                yield {**where, "distance": found.distance, **asdict(found), "right": normalisation_of(backbone)}


def normalisation_of(backbone: Backbone) -> str:
    right = backbone.preprocessing.mean, backbone.preprocessing.std
    return next((name for name, values in COMMON.items() if values == right), "")


def table(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| contract | sets | distance: least, median, most | warned | of those, the right one is named |"
    yield "|---|---|---|---|---|"
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in found:
        groups[row["contract"], "development" if row["dataset"] in DEVELOPMENT else "target"].append(row)
    for (contract, sets), some in groups.items():
        distances = [row["distance"] for row in some]
        warned = [row for row in some if row["distance"] > 1]
        named = sum(row["fits"] == row["right"] for row in warned)
        numbers = ", ".join(f"{value:.2f}" for value in (min(distances), median(distances), max(distances)))
        yield f"| {contract} | {sets} | {numbers} | {len(warned)} of {len(some)} | {named} of {len(warned)} |"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dev", type=Path, required=True, help="folder of the development sets")
    parser.add_argument("--data", type=Path, required=True, help="folder of the target sets")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--n-images", type=int, default=128, help="of each data set")
    parser.add_argument("--output", type=Path, required=True, help="folder of the study, which must be new")
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True)
    found = []
    with (args.output / "symptoms.jsonl").open("w", encoding="utf-8") as file:
        for row in rows(args):
            found.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
    text = "\n".join(["# Symptoms of wrong input", "", *table(found), ""])
    (args.output / "README.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
