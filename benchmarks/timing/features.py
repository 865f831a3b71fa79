"""How fast frozen features are, from a warm store to the cache of features, against the bare network on tensors.

    python -m benchmarks.timing.features [--case resnet50@224 mobilenet_v2_035@96] [--n-images 256 2048]

Contenders, in turn, on the same generated images, with random weights:
    bare network    forward passes over as many batches of the same size, of normalised images that are in memory
    batches of 64   the same in batches of that size
    features        `Features.compute` with a new cache: images gathered from the store, normalised, forwarded, looked
                    at by the input check, and their features written
    without check   the same without the input check
`ratio` is the median over the rounds of the bare network's seconds by those of `features`; `check, %` that of the
difference of the last two by the last; `gather, %` and `keep, %` are the shares of the time of `features` that go to
reading pixels and to writing and remembering features. BatchNorm layers get the statistics of one
batch first, as if trained, since the input check leaves untrained networks alone. It looks at the first 64 images,
so of more images its share is smaller. On a CPU seconds are those of the process, which a shared machine stretches less
than those of the clock.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.timing.record import begin
from benchmarks.timing.speed import CASES
from benchmarks.timing.trees import generated
from fewshot_bn.backbones.backbone import Backbone, with_preprocessing
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.cli.options import run_verb
from fewshot_bn.datasets import open_dataset
from fewshot_bn.host_memory import keep_freed_memory
from fewshot_bn.inputs.features import BATCH, Features
from fewshot_bn.inputs.images import Images, normalise
from fewshot_bn.inputs.store import Store
from fewshot_bn.preprocessing import with_geometry
from fewshot_bn.runtime import choose_device, plain_torch

DEFAULTS = {"resnet50@224": 256, "mobilenet_v2_035@96": 2048}
FILE_PX = 256


class Subject:
    """Images in a store, and a backbone whose BatchNorm layers know them."""

    def __init__(self, case: str, n_images: int, folder: Path, device: torch.device) -> None:
        model, side_px = CASES[case]
        backbone = load_backbone(model, weights="random", device=device)
        geometry = with_geometry(backbone.preprocessing, None, side_px)
        self.backbone: Backbone = with_preprocessing(backbone, geometry)
        dataset = open_dataset(str(generated(folder / f"{case}_images", n_images, FILE_PX, "JPEG")))
        self.images = Images(dataset, geometry, store=Store(dataset, geometry, folder / "stores"))
        self.rows, self.folder, self.device = np.arange(n_images), folder, device
        list(self.images.fill(self.rows))
        self.batches = [normalise(self._pixels(k), geometry, device) for k in range(2)]
        self.n_together = Features(self.images, self.backbone, device=device).n_together
        self.clock = time.process_time if device.type == "cpu" else time.perf_counter
        settle(self.backbone, self.batches[0])

    def _pixels(self, k: int) -> torch.Tensor:
        return self.images.gather(np.arange(k * BATCH, (k + 1) * BATCH) % len(self.rows))

    def bare(self, n_together: int) -> float:
        parts = [part for batch in self.batches for part in batch.split(n_together)]
        with plain_torch():
            began = self.clock()
            for k in range(-(-len(self.rows) // n_together)):
                self.backbone.features(parts[k % len(parts)]).cpu()
            return self.clock() - began

    def computed(self, *, check: bool = True) -> tuple[float, dict[str, float]]:
        """Seconds of all, and of the steps beside the network."""
        with tempfile.TemporaryDirectory(dir=self.folder) as cache:
            features = Features(self.images, self.backbone, device=self.device, cache=Path(cache))
            if not check:
                features.check.wanted_images = 0
            seconds: dict[str, float] = {}
            clocked(features, "_keep", seconds, self.clock)
            clocked(features.images, "gather", seconds, self.clock)
            began = self.clock()
            n_done = sum(features.compute(self.rows))
            whole = self.clock() - began
            del features.images.gather
        assert n_done == len(self.rows)
        return whole, seconds


def clocked(owner: Any, name: str, seconds: dict[str, float], clock: Callable[[], float]) -> None:
    """Have the time that a method of `owner` takes added up under its name."""
    method: Callable[..., Any] = getattr(owner, name)

    def timed(*args: Any, **options: Any) -> Any:
        began = clock()
        try:
            return method(*args, **options)
        finally:
            seconds[name] = seconds.get(name, 0.0) + clock() - began

    setattr(owner, name, timed)


@torch.no_grad()
def settle(backbone: Backbone, x: torch.Tensor) -> None:
    """Give the BatchNorm layers the statistics of these images."""
    for layer in backbone.module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    backbone.module.train()
    backbone.module(x)
    backbone.module.eval()


def rounds(subject: Subject, repetitions: int) -> Iterator[dict[str, Any]]:
    subject.bare(BATCH), subject.computed()  # they warm up
    for k in range(repetitions):
        found: dict[str, Any] = {}
        turns: list[tuple[str, Callable[[], Any]]] = [
            ("bare network", lambda: subject.bare(subject.n_together)),
            (f"batches of {BATCH}", lambda: subject.bare(BATCH)),
            ("features", subject.computed),
            ("without check", lambda: subject.computed(check=False)),
        ]
        for name, contender in turns[:: -1 if k % 2 else 1]:  # what goes before warms memory for what follows
            found[name] = contender()
        yield found


def measured(case: str, subject: Subject, repetitions: int) -> dict[str, Any]:
    found = list(rounds(subject, repetitions))
    bare, large = ([one[name] for one in found] for name in ("bare network", f"batches of {BATCH}"))
    whole, unchecked = ([one[name][0] for one in found] for name in ("features", "without check"))
    gathering, keeping = (
        100 * median(one["features"][1][name] / one["features"][0] for one in found) for name in ("gather", "_keep")
    )
    n = len(subject.rows)
    return {
        "case": f"{case}, {n:,} images",
        "bare network, images/s": n / median(bare),
        "features, images/s": n / median(whole),
        "ratio": median(b / w for b, w in zip(bare, whole, strict=True)),
        "ratio, least": min(b / w for b, w in zip(bare, whole, strict=True)),
        "ratio, most": max(b / w for b, w in zip(bare, whole, strict=True)),
        f"ratio, batches of {BATCH}": median(b / w for b, w in zip(large, whole, strict=True)),
        "check, %": 100 * median(w / u - 1 for w, u in zip(whole, unchecked, strict=True)),
        "gather, %": gathering,
        "keep, %": keeping,
        "seconds": {"bare network": bare, "batches": large, "features": whole, "without check": unchecked},
    }


def main(argv: Sequence[str] | None = None) -> int:
    return run_verb(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    words = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(DEFAULTS))
    parser.add_argument("--n-images", type=int, nargs="+", help="of each case; default: 256 of ResNet-50, 2048")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--output", type=Path, help="folder of the record, which must be new")
    args = parser.parse_args(words)
    numbers = args.n_images or [DEFAULTS.get(case, 2048) for case in args.case]
    if len(numbers) != len(args.case) or min(*numbers, args.repetitions, args.threads) < 1:
        parser.error("--n-images needs one number above 0 for each --case, --repetitions and --threads at least 1")
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    device, facts = choose_device(args.device), f"Medians of {args.repetitions} rounds."
    title = "Frozen features against the bare network"
    record = begin("features", words, args.output, title=title, device=device, facts=facts, doc=__doc__)
    rows = []
    for case, n_images in zip(args.case, numbers, strict=True):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measured(case, Subject(case, n_images, Path(folder), device), args.repetitions))
    record.add_rows("images per second", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
