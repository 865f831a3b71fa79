"""How fast tuning is: the engine against the loops that everyone writes, and against a counted floor.

    python -m benchmarks.timing.speed [--case resnet18@64 ...] [--tuned weights] [--growth]

What is tuned are norm layers under frozen statistics, or with `--tuned weights` all weights under batch statistics.

Contenders, in turn on 5-way 5-shot episodes of random images, from random weights:
    plain loop      `references.plain_tuning`: a deep copy per episode, autograd over all parameters, contiguous layout
    batches of 4    the same loop with as many epochs as the engine has steps, so as many image-steps; both on 1 episode
    engine          `NormTuning` or `FineTuning`, many episodes at once; by default as `memory.choose_portion` says
An image-step is the forward and backward pass of one support image; its time is that of a whole call, queries included,
divided by its image-steps: constant where growth is linear. "x first" compares it with that of the first row.
Floor of an image-step, the larger or the sum of two times at the best rates of this run; a cache can beat the second:
    arithmetic  2 f / (rate of a matrix product or a 3x3 convolution), f being the floating-point operations, two per
                multiply-add, of what follows the first norm layer: f forward, and f for the gradient of the data alone;
                for all weights f of all layers forward, and f for their gradient, and that of the data as before
    bytes       (5 Σa - a₁) (bytes of a number) / (bandwidth of a copy), a being the numbers that reach a norm layer:
                forward reads and writes them; backward reads them and their gradient and, but for the first, writes one
All keep freed memory and exact convolutions (GPU: no TF32), as the command does. On a shared machine only ratios count.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.references import plain_tuning
from benchmarks.timing.record import Record, begin
from fewshot_bn import host_memory, preprocessing
from fewshot_bn.adapters.tuning.norm_layers import input_sizes, shared_copy
from fewshot_bn.adapters.tuning.norms import NormTuning
from fewshot_bn.adapters.tuning.tuner import Tuning
from fewshot_bn.adapters.tuning.weights import FineTuning
from fewshot_bn.backbones.backbone import Backbone, with_preprocessing
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.cli.options import run_verb
from fewshot_bn.evaluation.memory import choose_portion
from fewshot_bn.runtime import choose_device, exact_convolutions

ROOT = Path(__file__).parents[2]
CASES = {  # model and image size
    "fractal_resnet8@32": ("fractal_resnet8", 32),
    "resnet20@32": (str(ROOT / "tests" / "cards" / "resnet20.toml"), 32),
    "mobilenet_v2_035@96": (str(ROOT / "tests" / "cards" / "mobilenet_v2_035.toml"), 96),
    "resnet18@64": ("resnet18", 64),
    "resnet50@224": ("resnet50", 224),
}
DEFAULTS = {"cpu": (["resnet20@32", "mobilenet_v2_035@96", "resnet18@64"], 20), "cuda": (["resnet50@224"], 100)}
N_WAY = 5


@dataclass(frozen=True, slots=True)
class Trial:
    """`at_once` episodes of so many images, tuned `n_calls` times: by the engine, or by the plain loop."""

    backbone: Backbone
    settings: Tuning
    device: torch.device
    n_query: int
    n_support: int = 5 * N_WAY
    name: str = ""
    at_once: int = 1
    images_at_once: int | None = None
    n_calls: int = 1
    plain: bool = False


def contenders(trial: Trial, chunks: Sequence[int]) -> Iterator[Trial]:
    yield replace(trial, name="plain loop", plain=True)
    yield replace(trial, name="batches of 4", plain=True, settings=replace(trial.settings, batch_size=4))
    default = engine(trial, "engine by default")
    yield from (replace(trial, name=f"engine, {n} at once", at_once=n) for n in chunks if n != default.at_once)
    yield default


def growth(trial: Trial) -> Iterator[Trial]:
    default, side, steps = engine(trial, ""), trial.backbone.preprocessing.crop_px, trial.settings.epochs
    yield from (replace(trial, name=f"{2**k} at once", at_once=2**k) for k in range(default.at_once.bit_length()))
    yield from (replace(default, name=f"{n * default.at_once} episodes{default.name}", n_calls=n) for n in (1, 2, 4))
    yield from (engine(replace(trial, n_support=n * N_WAY), f"{n}-shot") for n in (1, 5, 20))
    yield from (engine(resized(trial, n), f"{n} px") for n in (side // 2, side, 2 * side))
    for n in (steps, 2 * steps, 4 * steps):
        yield engine(replace(trial, settings=replace(trial.settings, epochs=n)), f"{n} steps")


def engine(trial: Trial, name: str) -> Trial:
    """With as many episodes at once as the command takes."""
    torch.cuda.empty_cache()  # what earlier runs left counts as free
    sizes = {"n_support": trial.n_support, "n_query": trial.n_query}
    at_once, n_images = astuple(choose_portion(trial.settings, trial.backbone, trial.device, **sizes))
    return replace(trial, name=f"{name}, {at_once} at once", at_once=at_once, images_at_once=n_images)


def resized(trial: Trial, side_px: int) -> Trial:
    geometry = preprocessing.with_geometry(trial.backbone.preprocessing, None, side_px)
    return replace(trial, backbone=with_preprocessing(trial.backbone, geometry))


def draw(trial: Trial) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random x_s, y_s, x_q; images in channels-last layout, as the command has them."""
    generator, side = torch.Generator(trial.device).manual_seed(0), trial.backbone.preprocessing.crop_px
    sizes = [(trial.at_once, n, side, side, 3) for n in (trial.n_support, trial.n_query)]
    x_s, x_q = (torch.randn(size, generator=generator, device=trial.device).movedim(-1, 2) for size in sizes)
    y_s = torch.arange(N_WAY, device=trial.device).repeat_interleave(trial.n_support // N_WAY)
    return x_s, y_s.repeat(trial.at_once, 1), x_q


def timed(call: Callable[[], Any], device: torch.device) -> float:
    torch.get_device_module(device).synchronize(device)
    start = time.perf_counter()
    call()
    torch.get_device_module(device).synchronize(device)
    return time.perf_counter() - start


def run(trial: Trial) -> tuple[float, int]:
    """Seconds per image-step, and peak bytes on a GPU; no cache of autocast, as weights in it would outlive a step."""
    inputs, device, how = draw(trial), trial.device, trial.settings
    low = trial.plain and how.precision == "bfloat16"
    tune = partial(plain_tuning, settings=how) if trial.plain else partial(how, images_at_once=trial.images_at_once)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=low, cache_enabled=False):
        seconds = sum(timed(lambda: tune(trial.backbone, *inputs), device) for _ in range(trial.n_calls))
    peak_bytes = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return seconds / (trial.n_calls * trial.at_once * trial.n_support * trial.settings.epochs), peak_bytes


def measure(trials: Sequence[Trial], repetitions: int) -> list[dict[str, Any]]:
    for trial in trials:  # warm up with one step
        run(replace(trial, n_calls=1, settings=replace(trial.settings, epochs=1)))
    rounds = [[run(trial) for trial in trials] for _ in range(repetitions)]
    found = [tuple(zip(*runs, strict=True)) for runs in zip(*rounds, strict=True)]
    return [row(trial, *each, first=found[0][0]) for trial, each in zip(trials, found, strict=True)]


def row(trial: Trial, seconds: Sequence[float], peaks: Sequence[int], *, first: Sequence[float]) -> dict[str, Any]:
    """Median and spread of what follows from the seconds per image-step in each repetition."""
    quantities = {
        "image-steps/s": [1 / s for s in seconds],
        "ms/image-step": [1000 * s for s in seconds],
        "s/600 episodes": [600 * trial.n_support * trial.settings.epochs * s for s in seconds],
        "x first": [f / s for f, s in zip(first, seconds, strict=True)],
        "peak GPU MiB": [n / 2**20 for n in peaks],
    }
    spread = {name: {"median": median(v), "min": min(v), "max": max(v)} for name, v in quantities.items()}
    return {"name": trial.name, "at once": trial.at_once, "s/image-step": seconds, "quantities": spread}


def floor(trial: Trial, first: Sequence[float]) -> list[dict[str, Any]]:
    dtype, device = getattr(torch, trial.settings.precision), trial.device
    a = [size.numel() for size in input_sizes(trial.backbone, "batch").values()]
    behind, whole = forward_flops(trial.backbone)
    flops = 2 * behind if isinstance(trial.settings, NormTuning) else 2 * whole + behind
    n_bytes = (5 * sum(a) - a[0]) * dtype.itemsize
    generator, side = torch.Generator(device).manual_seed(0), 8192 if device.type == "cuda" else 2048
    matrix = torch.randn(side, side, generator=generator, device=device).to(dtype)
    maps = matrix.view(-1, 128, 16, 16).contiguous(memory_format=torch.channels_last)
    convolve = partial(torch.conv2d, maps, matrix[:128, :1152].reshape(128, 128, 3, 3), padding=1)
    calls = (2 * side**3, partial(torch.mm, matrix, matrix)), (2 * 1152 * side**2, convolve)
    flops_per_s = max(n / timed(call, device) for n, call in calls * 5)
    bytes_per_s = 2**29 / min(timed(torch.ones(2**26, device=device).clone, device) for _ in range(5))
    facts = {"flops": flops, "bytes": n_bytes, "flops/s": flops_per_s, "bytes/s": bytes_per_s}
    times = flops / flops_per_s, n_bytes / bytes_per_s
    floors = {"floor, larger": max(times), "floor, sum": sum(times)}
    return [row(replace(trial, name=name), [s] * len(first), [0], first=first) | facts for name, s in floors.items()]


def forward_flops(backbone: Backbone) -> tuple[int, int]:
    """Floating-point operations on one image: behind the first norm layer, and in all."""
    network, side, before = shared_copy(backbone.module), backbone.preprocessing.crop_px, []
    first = network.get_submodule(next(iter(input_sizes(backbone, "batch"))))
    first.register_forward_pre_hook(lambda *_: before.append(counter.get_total_flops()))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, side, side, device=next(network.parameters()).device))
    return counter.get_total_flops() - before[0], counter.get_total_flops()


def add(record: Record, title: str, rows: Sequence[dict[str, Any]]) -> None:
    table = [["", *rows[0]["quantities"]]]
    for each in rows:
        medians = [quantity["median"] for quantity in each["quantities"].values()]
        table.append([each["name"], *(f"{x:,.0f}" if x >= 100 else f"{x:.3g}" if x else "-" for x in medians)])
    record.add(title, table, [{"table": title, **each} for each in rows])


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--case", nargs="+", choices=CASES, help="default: those of the device")
    parser.add_argument("--tuned", choices=["norms", "weights"], default="norms")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--steps", type=int, default=0, help="0: 20 on a CPU, 100 on a GPU")
    parser.add_argument("--n-query", type=int, default=1, help="queries per class")
    parser.add_argument("--chunk", type=int, nargs="+", default=[1], help="episodes at once, besides the default")
    parser.add_argument("--growth", action="store_true", help="also how the time of the engine grows")
    parser.add_argument("--output", type=Path, help="folder of the record, which must be new")
    args = parser.parse_args(argv)
    if min(args.threads, args.repetitions, args.n_query, *args.chunk, args.steps + 1) < 1:
        parser.error("--threads, --repetitions, --n-query and --chunk must be at least 1, --steps at least 0")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    return run_verb(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    words = sys.argv[1:] if argv is None else argv
    args = parse(words)
    host_memory.keep_freed_memory()
    torch.set_num_threads(args.threads)
    device = choose_device(args.device)
    args.steps = args.steps or DEFAULTS[device.type][1]
    common = {"steps": 0, "epochs": args.steps, "precision": args.precision, "lr_head": 1e-5}
    settings = {
        "norms": lambda: NormTuning(**common, lr_norm=1e-5),
        "weights": lambda: FineTuning(**common, lr_body=1e-5, statistics="batch"),
    }[args.tuned]()
    facts = (
        f"{args.steps} steps in {args.precision}, queries per class: {args.n_query}; 600 episodes are "
        f"extrapolated. Medians of {args.repetitions} repetitions."
    )
    title = {"norms": "Speed of BatchNorm tuning", "weights": "Speed of fine-tuning"}[args.tuned]
    record = begin("speed", words, args.output, title=title, device=device, facts=facts, doc=__doc__)
    with exact_convolutions():
        for case in args.case or DEFAULTS[device.type][0]:
            model, side = CASES[case]
            backbone = load_backbone(model, weights="random", device=device)
            trial = resized(Trial(backbone, settings, device, N_WAY * args.n_query), side)
            rows = measure([*contenders(trial, args.chunk)], args.repetitions)
            add(record, case, [*rows, *floor(trial, rows[0]["s/image-step"])])
            if args.growth:
                add(record, f"{case}, growth", measure([*growth(trial)], args.repetitions))
    return 0


if __name__ == "__main__":
    sys.exit(main())
