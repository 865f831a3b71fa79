"""Files of weights and cards, written whole or not at all."""

from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from fewshot_bn.errors import ModelError
from fewshot_bn.files.atomic import make_folder, replacing


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """`write` a file that becomes `path`; its folder is made. Raises `ModelError`, also for a disk that is full."""
    try:
        make_folder(path.parent)
        with replacing(path) as half_made:
            write(half_made)
    except (OSError, RuntimeError, SafetensorError) as problem:  # torch and safetensors have kinds of their own
        reason = getattr(problem, "strerror", None) or str(problem).splitlines()[0]
        if "inline_container" in reason:  # all that torch says
            reason = "the disk is full, or cannot be written to"
        raise ModelError(f"{path}: cannot be written: {reason}") from problem
