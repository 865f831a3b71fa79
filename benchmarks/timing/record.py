"""Records of measurements: a new folder with README.md, the tables for people, and every number in lines of JSON."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fewshot_bn import __version__

Table = Sequence[Sequence[str]]
RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True, slots=True)
class Record:
    """The folder of a script's record, to which one part after another is added."""

    folder: Path
    script: str

    def add(
        self, title: str, table: Sequence[Sequence[str]], rows: Sequence[Mapping[str, Any]], more: str = ""
    ) -> None:
        """Print and keep a table, its heads first, and the rows that it was made of."""
        heads, *lines = table
        text = "".join(f"| {' | '.join(line)} |\n" for line in (heads, ["---"] * len(heads), *lines))
        text = f"\n## {title}\n\n{text}{more}"
        print(text, flush=True)
        with self._open("README.md") as readme, self._open(f"{self.script}.jsonl") as numbers:
            readme.write(text)
            numbers.writelines(json.dumps(row) + "\n" for row in rows)

    def add_rows(self, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Likewise, of a table of all that the rows have but their `seconds`; numbers with three digits."""
        names = [name for name in rows[0] if name != "seconds"]
        table = [[f"{row[name]:.3g}" if isinstance(row[name], float) else row[name] for name in names] for row in rows]
        self.add(title, [names, *table], rows)

    def _open(self, name: str) -> Any:
        return (self.folder / name).open("a", encoding="utf-8")


def begin(
    script: str,
    words: Sequence[str],
    output: Path | None,
    *,
    title: str,
    device: torch.device,
    facts: str,
    doc: str | None,
) -> Record:
    """A record in `output`, or in results/ by today's date; `facts` are of the run, `doc` says what the script does.

    Raises `FileExistsError` if the folder is there.
    """
    date = time.strftime("%Y-%m-%d")
    folder = output or RESULTS / f"{date}-{script}-{device.type}"
    folder.mkdir(parents=True)
    command = " ".join([f"python -m benchmarks.timing.{script}", *words]).replace(str(output), "FOLDER")
    versions = f"Python {sys.version.split()[0]}, torch {torch.__version__}, fewshot_bn {__version__}"
    machine = f"{machine_of(device)}, {torch.get_num_threads()} threads; {versions}."
    every = f"All repetitions are in `{script}.jsonl`."
    head = f"# {title}, {date}\n\n    {command}\n\n{machine} {facts} {every} The script:\n\n```text\n{doc}```\n"
    (folder / "README.md").write_text(head, encoding="utf-8")
    return Record(folder, script)


def machine_of(device: torch.device) -> str:
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8") if sys.platform == "linux" else ""
    models = [line.split(": ")[1] for line in cpu.splitlines() if line.startswith("model name")] or ["CPU"]
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{len(models)} x {models[0]}"
