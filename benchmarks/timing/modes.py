"""What tuners cost beside one another, with as many steps each.

    python -m benchmarks.timing.modes [--mode bn tsa lora ft bn-last] [--case resnet18@64 resnet20@32] [--steps 20]

Seconds of processor time per 5-way 5-shot episode of random images, as many episodes at once as the command takes; in
turn, so that the ratio of a repetition to the first mode is of one time. Meant to be at most 1.6 for `tsa` and `lora`.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

import torch

from benchmarks.timing.speed import CASES, N_WAY, Trial, draw, engine, resized
from fewshot_bn import host_memory
from fewshot_bn.adapters import ADAPTERS, make_adapter
from fewshot_bn.adapters.tuning.tuner import Tuning
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.cli.options import run_verb

DEFAULTS = ("bn", "tsa", "lora", "ft", "bn-last")
TUNERS = tuple(name for name, adapter in ADAPTERS.items() if isinstance(adapter, Tuning))


def seconds(trial: Trial) -> float:
    """Processor time of an episode."""
    inputs = draw(trial)
    start = time.process_time()
    trial.settings(trial.backbone, *inputs, images_at_once=trial.images_at_once)
    return (time.process_time() - start) / trial.at_once


def main(argv: Sequence[str] | None = None) -> int:
    return run_verb(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mode", nargs="+", choices=TUNERS, default=DEFAULTS)
    parser.add_argument("--case", nargs="+", choices=CASES, default=["resnet18@64", "resnet20@32"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repetitions", type=int, default=5)
    args = parser.parse_args(argv)
    host_memory.keep_freed_memory()
    for case in args.case:
        model, side = CASES[case]
        backbone = load_backbone(model, weights="random")
        trials = []
        for mode in args.mode:
            settings = make_adapter(mode, steps=args.steps)
            trials.append(engine(resized(Trial(backbone, settings, torch.device("cpu"), N_WAY), side), mode))
        for trial in trials:  # warm up
            seconds(replace(trial, at_once=1))
        rounds = [[seconds(trial) for trial in trials] for _ in range(args.repetitions)]
        for k, trial in enumerate(trials):
            ratios = [each[k] / each[0] for each in rounds]
            print(f"{case}  {trial.name}: {median(each[k] for each in rounds):.3f} s/episode, ", end="")
            print(f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) x {args.mode[0]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
