"""Records of measurements: a new folder in results/, and a head that names date, command, machine and script."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

RESULTS = Path(__file__).parents[1] / "results"


def new_folder(output: Path | None, name: str) -> Path:
    """`output`, or the folder of today's record of this name. Raises `FileExistsError` where it is there."""
    folder = output or RESULTS / f"{time.strftime('%Y-%m-%d')}-{name}"
    folder.mkdir(parents=True)
    return folder


def head(title: str, script: str, words: Sequence[str], output: Path | None, *, facts: str, doc: str | None) -> str:
    """What a record begins with; `facts` are of the machine and the run, `doc` says what the script does."""
    command = " ".join(["python -m", f"benchmarks.timing.{script}", *words]).replace(str(output), "FOLDER")
    date = time.strftime("%Y-%m-%d")
    return f"# {title}, {date}\n\n    {command}\n\n{facts} The script:\n\n```text\n{doc}```\n"


def machine_of(device: torch.device) -> str:
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8") if sys.platform == "linux" else ""
    models = [line.split(": ")[1] for line in cpu.splitlines() if line.startswith("model name")] or ["CPU"]
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{len(models)} x {models[0]}"
