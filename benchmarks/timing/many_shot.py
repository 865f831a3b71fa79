"""Training on many images: batches out of the store under our loop, against the loop that everyone writes.

    python -m benchmarks.timing.many_shot [--case resnet20@32 mobilenet_v2_035@96] [--n-images 10000]

Contenders, in turn, one pass each over the same generated images in batches of 64, with random weights:
    loop    torch's DataLoader over images that lie in memory as bytes, each normalised by itself; the network in train
            mode and torch's default layout, gradients of all parameters, a step of SGD
    bn      `--regime many-shot --mode bn` (scales of BatchNorm), less what comes before and after the training
    ft      likewise, all weights, batch statistics
Numbers are images per second; ratios are medians over the rounds, to the loop. On a CPU seconds are those of the
process, threads that read ahead included, which a shared machine stretches less than those of the clock.
"""

import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from benchmarks.timing.record import begin
from benchmarks.timing.speed import CASES
from benchmarks.timing.trees import generated
from fewshot_bn.adapters import with_settings
from fewshot_bn.adapters.tuning.tuner import Tuning
from fewshot_bn.backbones.backbone import with_preprocessing
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.cli.options import run_verb
from fewshot_bn.datasets import open_dataset
from fewshot_bn.datasets.splits import Split
from fewshot_bn.evaluation.many_shot.checkpoint import Checkpoint
from fewshot_bn.evaluation.many_shot.modes import CLASSIFIERS
from fewshot_bn.evaluation.many_shot.tuned import TunedEvaluation
from fewshot_bn.host_memory import keep_freed_memory
from fewshot_bn.inputs.features import Features
from fewshot_bn.inputs.images import Images
from fewshot_bn.inputs.source import Source
from fewshot_bn.inputs.store import Store
from fewshot_bn.preprocessing import with_geometry
from fewshot_bn.runtime import choose_device, plain_torch

BATCH = 64
SETTINGS = {
    "bn": {"head": "normal", "readout": "head"},
    "ft": {"augment": "none"},
}


class Bytes(Dataset[tuple[torch.Tensor, int]]):
    """Images in memory, normalised one by one, as the transforms of torchvision do."""

    def __init__(self, source: Source, rows: np.ndarray) -> None:
        self._pixels = source.images.gather(rows).contiguous()
        self._labels = source.images.dataset.labels[rows].tolist()
        preprocessing = source.images.preprocessing
        self._mean, self._std = (torch.tensor(v)[:, None, None] for v in (preprocessing.mean, preprocessing.std))

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        return (self._pixels[place].float().div_(255) - self._mean) / self._std, self._labels[place]


class Subject:
    """Images in a store under a network, and the contenders."""

    def __init__(self, case: str, n_images: int, folder: Path, device: torch.device) -> None:
        model, side_px = CASES[case]
        backbone = load_backbone(model, weights="random", device=device)
        geometry = with_geometry(backbone.preprocessing, None, side_px)
        backbone = with_preprocessing(backbone, geometry)
        dataset = open_dataset(str(generated(folder / f"{case}_images", n_images + 4, side_px, "PNG")))
        images = Images(dataset, geometry, store=Store(dataset, geometry, folder / "stores"))
        list(images.fill(np.arange(n_images + 4)))
        self.source = Source(images, backbone, Features(images, backbone, device=device), device)
        self.rows = np.arange(n_images + 4)[2:-2]
        self.split = Split(self.rows[:-2], self.rows[-2:], np.arange(2), official=True)
        self.loader = DataLoader(Bytes(self.source, self.rows), BATCH, shuffle=True, pin_memory=device.type == "cuda")
        self.clock = time.process_time if device.type == "cpu" else time.perf_counter
        self.device, self.folder = device, folder

    def loop(self) -> float:
        network = copy.deepcopy(self.source.backbone.module).to(memory_format=torch.contiguous_format).train()
        for parameter in network.parameters():
            parameter.requires_grad_()
        head = torch.nn.Linear(self.source.backbone.dim, 2, device=self.device)
        optimiser = torch.optim.SGD([*network.parameters(), *head.parameters()], lr=1e-5, momentum=0.9)
        began = self.clock()
        for x, y in self.loader:
            optimiser.zero_grad()
            scores = head(network(x.to(self.device, non_blocking=True)))
            F.cross_entropy(scores, y.to(self.device)).backward()
            optimiser.step()
        self._wait()
        return self.clock() - began

    def ours(self, mode: str) -> float:
        tuner = CLASSIFIERS[mode]
        assert isinstance(tuner, Tuning)
        tuner = with_settings(mode, tuner, {**SETTINGS[mode], "epochs": 1, "batch_size": BATCH})
        evaluation = TunedEvaluation(tuner, self.source, self.split, 0)
        (stage,) = tuner.stages(self.source.backbone)
        with plain_torch():
            learner = evaluation.learner(0, stage, alone=True)
            began = self.clock()
            for _ in learner.train(Checkpoint(self.folder / "kept", "none"), ""):
                pass
            self._wait()
            seconds = self.clock() - began
        (self.folder / "kept").unlink()
        return seconds

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def measured(case: str, subject: Subject, repetitions: int) -> dict[str, Any]:
    turns = {"loop": subject.loop, "bn": lambda: subject.ours("bn"), "ft": lambda: subject.ours("ft")}
    rounds = [{name: turn() for name, turn in turns.items()} for _ in range(repetitions + 1)][1:]
    seconds = {name: [each[name] for each in rounds] for name in turns}
    n = len(subject.rows)
    ratios = {name: [each["loop"] / each[name] for each in rounds] for name in ("bn", "ft")}
    return {
        "case": f"{case}, {n:,} images",
        **{f"{name}, images/s": n / median(values) for name, values in seconds.items()},
        **{f"{name} / loop": median(values) for name, values in ratios.items()},
        **{f"{name}, least and most": f"{min(values):.2f} {max(values):.2f}" for name, values in ratios.items()},
        "seconds": seconds,
    }


def main(argv: Sequence[str] | None = None) -> int:
    return run_verb(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    words = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--case", nargs="+", choices=CASES, default=["resnet20@32"])
    parser.add_argument("--n-images", type=int, default=10_000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--output", type=Path, help="folder of the record, which must be new")
    args = parser.parse_args(words)
    if min(args.n_images - BATCH, args.repetitions, args.threads) < 1:
        parser.error(f"--n-images has to be above {BATCH}, --repetitions and --threads at least 1")
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    device, facts = choose_device(args.device), f"Medians of {args.repetitions} rounds."
    title = "Training on many images against the plain loop"
    record = begin("many_shot", words, args.output, title=title, device=device, facts=facts, doc=__doc__)
    rows = []
    for case in args.case:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measured(case, Subject(case, args.n_images, Path(folder), device), args.repetitions))
    record.add_rows("Images per second", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
