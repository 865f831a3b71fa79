"""Files that are there whole or not at all."""

import contextlib
import os
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Write a file under another name, then give it its own. Raises `OSError`, and then leaves what was there."""
    half_made = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with half_made.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        half_made.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            half_made.unlink(missing_ok=True)
        raise
