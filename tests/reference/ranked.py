"""Result files of several backbones and modes, made without running anything."""

from dataclasses import replace

import numpy as np

from fewshot_bn.reports.ranks import RankReport
from fewshot_bn.results.files import _write
from fewshot_bn.results.folders import BackboneId
from fewshot_bn.results.key import file_name
from fewshot_bn.results.many_shot import ManyShotResult
from fewshot_bn.results.many_shot_files import write_many_shot
from fewshot_bn.results.ranks import rank
from fewshot_bn.results.resampling import Bootstrap
from fewshot_bn.results.result import Result, Run
from fewshot_bn.results.statistics import Estimate
from fewshot_bn.results.tasks import Task
from fewshot_bn.rng import uniforms

WAY, QUERY = 5, 4


def key_of(mode, backbone, **parts):
    """Of a result; `settings`, `shape`, `preprocessing` and others in `parts` are changed."""
    shape = {"n_way": WAY, "n_support": 1, "n_query": QUERY} | parts.pop("shape", {})
    settings = parts.pop("settings", {"steps": 50})
    facts = {"name": backbone, "weights": f"{backbone}.pth", "fingerprint": f"f-{backbone}", "card": ""}
    facts["preprocessing"] = {"resize_px": 32, "crop_px": 32} | parts.pop("preprocessing", {})
    return {
        "fewshot_bn": "0.1.0",
        "dataset": {"name": "plants", "fingerprint": "d"} | parts.pop("dataset", {}),
        "backbone": facts | parts.pop("facts", {}),
        "adapter": {"name": mode, "settings": settings, "transductive": False} | parts.pop("adapter", {}),
        "shape": shape,
        "seed": 0,
        **parts,
    }


def result_of(mode, backbone, correct, **parts):
    n, measures = len(correct), parts.pop("measures", {})
    episodes = parts.pop("episodes", f"episodes{n}")
    run = Run(0, n, 1.0, "cpu", {})
    return Result(key_of(mode, backbone, **parts), tuple(correct), (True,) * n, (0,) * n, measures, episodes, (run,))


def write(folder, result):
    """The file of a result."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(result.key)
    _write(path, result)
    return path


LABELS = [0] * 10 + [1] * 6 + [2] * 4  # of the test images


def seen(mode, backbone, right, **parts):
    """A many-shot result that keeps which of the 20 test images are right (`right`, true or false)."""
    predictions = [k if is_right else (k + 1) % 3 for k, is_right in zip(LABELS, right, strict=True)]
    of_class = [np.mean([r for r, k in zip(right, LABELS, strict=True) if k == c]) for c in range(3)]
    test = {"top-1": float(np.mean(right)), "mean-per-class": float(np.mean(of_class)), "map": 0.5}
    point = {"C": 1.0, **test, "converged": True}
    made = many_shot(mode, backbone, test["top-1"], **parts)
    sides = {name: [max(0.0, test[name] - 0.1), min(1.0, test[name] + 0.1)] for name in ("top-1", "mean-per-class")}
    return replace(made, path=[point], test=test, predictions=predictions, labels=LABELS, test_intervals=sides)


def many_shot(mode, backbone, score, **parts):
    """A many-shot result of before labels were kept."""
    key = key_of(mode, backbone, settings={"n_values": 1}, **parts)
    del key["shape"]
    key["split"] = {"train": 30, "val": 10, "test": 20, "official": False, "fingerprint": "rows"}
    point = {"C": 1.0, "top-1": score, "mean-per-class": score, "converged": True}
    test, half = {"top-1": score, "mean-per-class": score}, {"top-1": 0.1, "mean-per-class": 0.1}
    sides = {name: [max(0.0, score - 0.1), min(1.0, score + 0.1)] for name in test}
    return ManyShotResult(key, "top-1", [point], 1.0, True, test, half, [0] * 20, {"seconds": 1.0}, sides)


def write_split(folder, result):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(result.key)
    write_many_shot(path, result)
    return path


def corrects(n_backbones, n_episodes, seed=0, noise=2.0):
    """Right queries by mode (ft, lr, proto), backbone and episode; later backbones are better, by lr less clearly."""
    rng = np.random.default_rng(np.random.Philox(seed))
    skill = np.linspace(6, 16, n_backbones)
    episode = rng.normal(0, 1, n_episodes)
    spread = {"ft": 0.0, "lr": 1.5, "proto": 4.0}
    found = {}
    for mode, by in spread.items():
        means = skill + by * rng.normal(0, 1, n_backbones)
        drawn = means[:, None] + episode + noise * rng.normal(0, 1, (n_backbones, n_episodes))
        found[mode] = drawn.round().clip(0, WAY * QUERY).astype(int).tolist()
    return found


def family(n_backbones=12, n_episodes=20, seed=0, **parts):
    """A result of each mode on each backbone, b00 the worst."""
    found = corrects(n_backbones, n_episodes, seed)
    return [result_of(mode, f"b{b:02}", row, **parts) for mode, rows in found.items() for b, row in enumerate(rows)]


MODES = ("ft", "lr", "proto")


def task_of(values, *, name="plants", stream="s", known=True):
    """A task of few shots with these values by mode, backbone and episode."""
    values = np.asarray(values, dtype=np.float64)
    estimates = {
        mode: tuple(Estimate(float(one.mean()), 0.1, len(one)) for one in row)
        for mode, row in zip(MODES[: len(values)], values, strict=True)
    }
    backbones = tuple(f"b{b}" for b in range(values.shape[1]))
    return Task(name, "few-shot", backbones, estimates, values if known else None, stream)


def report_of(*tasks, metric="accuracy", notes=()):
    """What is said of tasks, by few samples."""
    backbones = {name: BackboneId(name, "w", f"f-{name}") for task in tasks for name in task.backbones}
    drawn = Bootstrap(100, 3)
    return RankReport(rank(tasks, metric, "lr", drawn), metric, "ft", "lr", drawn, backbones, notes)


def drawn_places(n, n_samples, seed, *path):
    """Which of `n` things are in each sample, drawn one by one."""
    return [np.floor(uniforms(n, seed, "rank", *path, i) * n).astype(int) for i in range(n_samples)]
