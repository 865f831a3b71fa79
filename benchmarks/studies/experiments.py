"""What studies are made of: experiments with named candidates on their datasets and backbones.

A candidate is a mode and its settings, as in `bn steps=20 readout=head`. `start` stands for the recipe that the search
for the default of `bn` began with, whatever became of it. Experiments are 5-way with 15 queries and have no baseline.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fewshot_bn
from benchmarks.studies.record import Run, record
from fewshot_bn.adapters import ADAPTERS, Adapter
from fewshot_bn.adapters.tuning.norms import NormTuning
from fewshot_bn.cli.settings import with_texts
from fewshot_bn.config import FewShotConfig
from fewshot_bn.datasets import card_of
from fewshot_bn.errors import FewshotError
from fewshot_bn.events import Note
from fewshot_bn.experiment.events import Done

CARDS = Path(__file__).parents[2] / "tests" / "cards"
WEIGHTS = {
    "mobilenet_v2_035": "mobilenet_v2_035_imagenet_features.pth",
    "mobilenet_v1_025": "mobilenetV1X0.25_pretrain.original.pth.tar",
    "resnet20": "resnet20-12fca82f.th",
}
START = NormTuning(
    scaling="l2",
    head="lr",
    C=10.0,
    steps=10,
    optimiser="adam",
    units="relative",
    lr_norm=1.0,
    lr_head=0.0,
    readout="lr",
    test_augment="flip,centre",
)


def adapter_of(candidate: str) -> Adapter:
    mode, *texts = candidate.split()
    default = START if mode == "start" else ADAPTERS[mode]
    return with_texts(mode, default, dict(text.split("=") for text in texts))


def experiment(
    args: argparse.Namespace, subject: tuple[str, str], candidates: Iterable[str], *, stage: str, **more: Any
) -> FewShotConfig:
    """Of a dataset under a backbone; the dataset is a shipped card with its files in `args.data`, or a folder there."""
    dataset, backbone = subject
    return FewShotConfig(
        dataset=dataset if card_of(dataset) else str(args.data / dataset),
        data_root=args.data,
        model=str(CARDS / f"{backbone}.toml"),
        weights=str(args.weights / WEIGHTS[backbone]),
        modes={name: adapter_of(name) for name in candidates},
        baseline=None,
        device=args.device,
        output=args.output / stage,
        **more,
    )


def carry_out(experiments: Iterable[FewShotConfig], folder: Path) -> list[Run]:
    """Compute what is missing, and make the record of the folder. An error ends the process."""
    try:
        for config in experiments:
            for event in fewshot_bn.run(config):
                if isinstance(event, Note | Done):
                    print(event.text if isinstance(event, Note) else f"{event.title}: {event.path.name}", flush=True)
        return record(folder)
    except FewshotError as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Of the command line of a study."""
    options = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    options.add_argument("--data", type=Path, required=True, help="folder of the datasets")
    options.add_argument("--weights", type=Path, required=True, help="folder of the weights")
    options.add_argument("--n-episodes", type=int, help="default: as the study says")
    options.add_argument("--device", default="auto")
    options.add_argument("--output", type=Path, required=True, help="folder of the study, new or to be continued")
    return options
