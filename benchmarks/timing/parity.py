"""How far the batched adapters are from the plain loops on real images, and how much faster.

    python -m benchmarks.timing.parity --n-episodes 8 [--dataset NAME --data-root FOLDER --model CARD --weights FILE]

`lr-c1`: class probabilities against scikit-learn in float64. `bn`: scores against the plain loop in float64, relative
to the largest score; in float32 the plain loop's own distance is the yardstick, since training magnifies rounding
errors.
Times are of this run; only their ratio means anything on a shared machine.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.references import plain_tuning, sklearn_lr
from fewshot_bn.adapters import make_adapter
from fewshot_bn.adapters.tuning.norms import NormTuning
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.config import FewShotConfig
from fewshot_bn.datasets import open_dataset
from fewshot_bn.episodes import EpisodeShape, sample
from fewshot_bn.inputs.images import Images, normalise


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def main(argv: list[str] | None = None) -> int:
    default = FewShotConfig()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default=default.dataset)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--model", default=default.model)
    parser.add_argument("--weights")
    parser.add_argument("--n-episodes", type=int, default=8)
    parser.add_argument("--steps", type=int, default=NormTuning().steps)
    parser.add_argument("--chunk", type=int, default=4)
    args = parser.parse_args(argv)

    dataset = open_dataset(args.dataset, root=args.data_root)
    backbone = load_backbone(args.model, weights=args.weights)
    images = Images(dataset, backbone.preprocessing)
    episodes = sample(dataset.class_sizes, EpisodeShape(), seed=0, n_episodes=args.n_episodes)

    def pixels(rows: np.ndarray) -> torch.Tensor:
        x = normalise(images.gather(rows.ravel()), backbone.preprocessing, torch.device("cpu"))
        return x.reshape(len(rows), -1, *x.shape[1:])

    x_s, x_q = pixels(episodes.support), pixels(episodes.query)
    y_s = torch.arange(5).repeat_interleave(5).expand(len(x_s), -1).contiguous()
    print(f"{dataset.name}, {backbone.name}, 5-way 5-shot, {len(x_s)} episodes, {torch.get_num_threads()} threads")

    z_s, z_q = (torch.stack([backbone.features(x) for x in xs]) for xs in (x_s, x_q))
    fit, ours = timed(lambda: make_adapter("lr-c1")(z_s, y_s, z_q))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # line searches that end at rounding errors
        expected, theirs = timed(lambda: sklearn_lr(z_s, y_s, z_q, C=1.0))
    difference = np.abs(fit.logits.softmax(-1).numpy() - expected).max()
    print(f"lr-c1: largest difference of a probability {difference:.1e}; {theirs / ours:.1f} x as fast as scikit-learn")

    settings = NormTuning(steps=args.steps)
    exact = None
    for dtype in (torch.float64, torch.float32):
        backbone.module.to(dtype)
        inputs = x_s.to(dtype), y_s, x_q.to(dtype)
        parts = [[tensor[i : i + args.chunk] for tensor in inputs] for i in range(0, len(x_s), args.chunk)]
        found, ours = timed(lambda parts=parts: torch.cat([settings(backbone, *part).logits for part in parts]))
        plain, theirs = timed(lambda inputs=inputs: plain_tuning(backbone, *inputs, settings=settings))
        exact = plain if exact is None else exact
        print(
            f"bn {str(dtype).removeprefix('torch.')}: largest difference of a score from the plain loop in float64 "
            f"{relative(found, exact):.1e} (of the plain loop itself {relative(plain, exact):.1e}); same class for "
            f"{100 * (found.argmax(-1) == exact.argmax(-1)).float().mean():.2f} % of queries; "
            f"{theirs / ours:.2f} x as fast"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
