"""How fast images come out of files and out of the store, and how much memory that takes, in one run.

    python -m benchmarks.timing.store [--data-root ../shared/data] [--n-images 4000]

Parts:
    looking    microseconds to decode and resize an image in this process, and to look at it, as a store does with each;
               the share is of both
    building   images per second of a store, against a bare loop in as many processes, in turn: open with PIL, convert
               to RGB, resize to 257 x 257, crop 224 x 224; once leaving it there, once with the pixels as an array;
               without the start of processes, which is given apart, and with the last write to the disk
    gathering  1,600 rows (16 episodes of 100 images) from a warm store, against decoding and resizing them again with
               the same threads
    memory     the highest resident memory of a process that builds a store, with its largest worker times their number,
               over 112,000 images of 32 px, and over PNG files of 1024 x 1024
    scanning   seconds of a new process that imports the package and opens a tree of 100,000 files
Images are those of the four target datasets under the data root, each repeated until there are enough, where they are
there, and generated ones: smoothed noise, which compresses about as photographs do.
"""

import argparse
import multiprocessing
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.timing.record import begin
from benchmarks.timing.trees import bare, bare_with_array, generated
from fewshot_bn.cli.options import run_verb
from fewshot_bn.datasets import Dataset, open_dataset
from fewshot_bn.datasets.rows import FileReader
from fewshot_bn.errors import DataError
from fewshot_bn.host_memory import keep_freed_memory
from fewshot_bn.inputs.images import Images
from fewshot_bn.inputs.store import Store
from fewshot_bn.preprocessing import Preprocessing, fitted, with_geometry
from fewshot_bn.raster import decoded, look_at
from fewshot_bn.workers import n_cores

TARGETS = ("eurosat", "cropdisease", "isic", "chestx")
PARTS = ("looking", "building", "gathering", "memory", "scanning")
N_GATHERED = 1_600
N_LOOKED_AT = 500
MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from fewshot_bn.datasets import open_dataset
from fewshot_bn.inputs.store import Store
from fewshot_bn.preprocessing import Preprocessing
if __name__ == "__main__":
    dataset = open_dataset(sys.argv[1])
    store = Store(dataset, Preprocessing(int(sys.argv[3]), int(sys.argv[3])), Path(sys.argv[2]))
    assert sum(store.fill(np.arange(len(dataset)))) == len(dataset)
    own = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]  # getrusage counts who started it, too
    print(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
BUILD = """
import pickle, sys, time
from pathlib import Path
import numpy as np
from fewshot_bn.inputs.store import Store
from fewshot_bn.preprocessing import Preprocessing, with_geometry
if __name__ == "__main__":
    dataset = pickle.loads(Path(sys.argv[1]).read_bytes())
    store = Store(dataset, with_geometry(Preprocessing(), "cdfsl", None), Path(sys.argv[2]))
    times, done = [time.perf_counter()], []
    for n in store.fill(np.arange(len(dataset))):
        times.append(time.perf_counter())
        done.append(n)
    assert sum(done) == len(dataset)
    print(times[1] - times[0], (time.perf_counter() - times[1]) * sum(done) / max(1, sum(done[1:])))
    store.path.unlink()
"""
SCAN = """
import sys, time
began = time.perf_counter()
from fewshot_bn.datasets import open_dataset
n = len(open_dataset(sys.argv[1]))
print(n, time.perf_counter() - began)
"""


def repeated(dataset: Dataset, n_images: int) -> Dataset:
    """The images of a dataset, over and over."""
    rows = np.arange(n_images) % len(dataset)
    reader = dataset.read
    assert isinstance(reader, FileReader)
    return replace(
        dataset,
        labels=dataset.labels[rows],
        ids=tuple(f"{k}/{dataset.ids[row]}" for k, row in enumerate(rows)),
        read=FileReader(reader.folder, tuple(reader.paths[row] for row in rows)),
    )


def datasets(args: argparse.Namespace, folder: Path) -> Iterator[Dataset]:
    for name in TARGETS:
        try:
            yield repeated(open_dataset(name, root=args.data_root), args.n_images)
        except DataError:
            print(f"{name} is not under {args.data_root}: left out", file=sys.stderr)
    for kind, side_px, n in (("JPEG", 256, args.n_images), ("PNG", 1024, max(args.n_images // 20, 2))):
        place = folder / f"generated_{side_px}px_{kind.lower()}"
        yield open_dataset(str(generated(place, n, side_px, kind)))


def looking(args: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    for dataset in datasets(args, folder):
        geometry = with_geometry(Preprocessing(), "cdfsl", None)
        contents = [dataset.read(row) for row in range(0, len(dataset), 1 + len(dataset) // N_LOOKED_AT)]
        seconds: dict[str, list[float]] = {"decoded": [], "looked at": []}
        for _ in range(args.repetitions + 1):  # the first warms up
            decoded_s = looked_at_s = 0.0
            for content in contents:
                times = [time.perf_counter()]
                raster = decoded(content)
                pixels = fitted(raster.image, geometry).tobytes()
                times.append(time.perf_counter())
                look_at(raster, pixels)
                times.append(time.perf_counter())
                decoded_s += times[1] - times[0]
                looked_at_s += times[2] - times[1]
            seconds["decoded"].append(decoded_s)
            seconds["looked at"].append(looked_at_s)
        whole, look = (median(seconds[name][1:]) / len(contents) * 1e6 for name in seconds)
        yield {
            "images": dataset.name,
            "decoded, µs": whole,
            "looked at, µs": look,
            "share, %": 100 * look / (whole + look),
        }


def in_processes(work: Callable[[Sequence[Path]], int], dataset: Dataset, n_workers: int) -> float:
    reader = dataset.read
    assert isinstance(reader, FileReader)
    paths = [reader.folder / path for path in reader.paths]
    with multiprocessing.get_context("spawn").Pool(n_workers) as pool:
        pool.map(bare, [paths[:1]] * n_workers)  # they have started
        began = time.perf_counter()
        assert sum(pool.imap_unordered(work, [paths[k : k + 32] for k in range(0, len(paths), 32)])) == len(paths)
        return time.perf_counter() - began


def building(args: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    n_workers = n_cores()
    for dataset in datasets(args, folder):
        seconds: dict[str, list[float]] = {"store": [], "bare loop": [], "bare loop with array": [], "start": []}
        for _ in range(args.repetitions):
            seconds["bare loop"].append(in_processes(bare, dataset, n_workers))
            seconds["bare loop with array"].append(in_processes(bare_with_array, dataset, n_workers))
            (folder / "dataset").write_bytes(pickle.dumps(dataset))
            command = [sys.executable, "-c", BUILD, str(folder / "dataset"), str(folder / "stores")]
            start, rest = map(float, subprocess.check_output(command, text=True).split())
            seconds["start"].append(start)
            seconds["store"].append(rest)
        rates = {name: len(dataset) / median(values) for name, values in seconds.items()}
        yield {
            "images": f"{dataset.name}, {len(dataset):,}",
            **{f"{name}, images/s": round(rate) for name, rate in rates.items() if name != "start"},
            "start, s": median(seconds["start"]),
            "store / bare loop": rates["store"] / rates["bare loop"],
            "store / with array": rates["store"] / rates["bare loop with array"],
            "seconds": seconds,
        }


def gathering(args: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    rng = np.random.Generator(np.random.Philox(0))
    for dataset in datasets(args, folder):
        geometry = with_geometry(Preprocessing(), "cdfsl", None)
        store = Store(dataset, geometry, folder / "stores")
        stored, decoded = Images(dataset, geometry, store=store), Images(dataset, geometry, cache_bytes=0)
        list(stored.fill(np.arange(len(dataset))))
        rows = rng.integers(0, len(dataset), N_GATHERED)
        seconds: dict[str, list[float]] = {"gathered": [], "decoded again": []}
        for _ in range(args.repetitions + 1):  # the first warms up
            for name, images in (("gathered", stored), ("decoded again", decoded)):
                began = time.perf_counter()
                images.gather(rows)
                seconds[name].append(time.perf_counter() - began)
        gathered, again = (median(seconds[name][1:]) for name in seconds)
        yield {
            "images": dataset.name,
            "gathered, s": gathered,
            "decoded again, s": again,
            "decoded again / gathered": again / gathered,
            "seconds": seconds,
        }
        store.path.unlink()


def memory(args: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    for n_images, side_px, kind, to_px in ((args.n_many, 32, "JPEG", 32), (args.n_large, 1024, "PNG", 224)):
        tree = generated(folder / f"memory_{side_px}", n_images, side_px, kind)
        command = [sys.executable, "-c", MEMORY, str(tree), str(folder / "stores"), str(to_px)]
        own, worker = map(int, subprocess.check_output(command, text=True).split())
        n_workers = n_cores() if worker else 0
        yield {
            "images": f"{n_images:,} {kind} of {side_px} px",
            "process, MiB": own / 1024,
            "largest worker, MiB": worker / 1024,
            "all, at most, MiB": (own + n_workers * worker) / 1024,
        }


def scanning(args: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    tree = generated(folder / "scanned", args.n_scanned, 8, "JPEG")
    command = [sys.executable, "-c", SCAN, str(tree)]
    found = [subprocess.check_output(command, text=True).split() for _ in range(args.repetitions + 1)][1:]
    yield {"files": int(found[0][0]), "seconds": median(float(seconds) for _, seconds in found)}


def table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    names = [name for name in rows[0] if name != "seconds" or not isinstance(rows[0][name], dict)]
    return [names, *([f"{row[k]:.3g}" if isinstance(row[k], float) else str(row[k]) for k in names] for row in rows)]


def main(argv: Sequence[str] | None = None) -> int:
    return run_verb(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    words = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    parser.add_argument("--n-images", type=int, default=4_000, help="of each dataset whose store is built")
    parser.add_argument("--n-many", type=int, default=112_000, help="small images of the part memory")
    parser.add_argument("--n-large", type=int, default=2_500, help="images of 1024 px of the part memory")
    parser.add_argument("--n-scanned", type=int, default=100_000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--output", type=Path, help="folder of the record, which must be new")
    args = parser.parse_args(words)
    keep_freed_memory()
    measures = {
        "looking": looking,
        "building": building,
        "gathering": gathering,
        "memory": memory,
        "scanning": scanning,
    }
    title, facts = "The store of decoded images", f"Medians of {args.repetitions} repetitions."
    device = torch.device("cpu")
    record = begin("store", words, args.output, title=title, device=device, facts=facts, doc=__doc__)
    for part in args.parts:
        with tempfile.TemporaryDirectory() as folder:
            rows = list(measures[part](args, Path(folder)))
        record.add(part, table(rows), [{"part": part, **row} for row in rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
