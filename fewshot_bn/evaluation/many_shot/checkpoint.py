"""Where a long training stands, kept in a file beside its result, from which a run that was killed goes on.

The file is replaced atomically, every so often: it costs a small share of the time, and a kill loses little. What is
drawn is a function of seed and step, so with all that a step changes, a training goes on as if it had not been stopped.
"""

import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from fewshot_bn.errors import ResultError
from fewshot_bn.events import Note
from fewshot_bn.files.atomic import replacing

WRITE_S = 20.0  # seconds between two files
WRITE_SHARE = 20  # and at least so many times as long as a file takes to be written


class Checkpoint:
    """The states of the parts of a training, each under its name; `key` says of what training they are.

    A part that is concluded has a record of what came of it in their place.

    Raises `ResultError` where there is a file that cannot be read, or is of another training.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._key = path, key
        self._states: dict[str, Any] = {}
        self._records: dict[str, Any] = {}
        self._due_s = time.monotonic() + WRITE_S
        if os.path.lexists(path):
            self._read()

    def state(self, part: str) -> Any:
        """The last state that was kept of that part of the training; None where there is none."""
        return self._states.get(part)

    @property
    def is_due(self) -> bool:
        """Whether it is time to keep a state."""
        return time.monotonic() >= self._due_s

    def keep(self, part: str, state: Any) -> Iterator[Note]:
        """Write a state; where the disk has no room for it, say so, and what was kept before stays."""
        self._states[part] = state
        return self._write()

    def record(self, part: str) -> Any:
        """What came of that part of the training; None where it is not concluded."""
        return self._records.get(part)

    def conclude(self, part: str, record: Any) -> Iterator[Note]:
        """Write what came of a part, and forget its states and those of its own parts ("PART NAME")."""
        for name in [name for name in self._states if name == part or name.startswith(f"{part} ")]:
            del self._states[name]
        self._records[part] = record
        return self._write()

    def _write(self) -> Iterator[Note]:
        began = time.monotonic()
        try:
            with replacing(self._path) as half_made:
                torch.save({"key": self._key, "states": self._states, "records": self._records}, half_made)
        except (OSError, RuntimeError) as problem:  # the latter as torch says that it could not write
            yield Note(f"{self._path}: cannot be written, so a run that is killed begins anew from before: {problem}")
        now = time.monotonic()
        self._due_s = now + max(WRITE_S, WRITE_SHARE * (now - began))

    def remove(self) -> None:
        """The training is over."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> None:
        try:
            found = torch.load(self._path, map_location="cpu", weights_only=True)
            key, self._states, self._records = found["key"], found["states"], found["records"]
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as problem:
            raise ResultError(
                f"{self._path}: this training cannot be continued, as what was kept of it cannot be read; delete it, "
                "and the training begins anew"
            ) from problem
        if key != self._key:
            raise ResultError(f"{self._path}: is of another training; move it away")
