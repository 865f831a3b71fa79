"""Objects of the user's own code: `path/to/file.py:name`, or `package.module:name` of what can be imported.

The folder of the file, or the current one, is looked in last, so nothing there shadows a library.
"""

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from fewshot_bn.errors import UsageError, unknown
from fewshot_bn.files.atomic import digest, sha256_of

NAMED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def is_own(text: str) -> bool:
    """Whether this names an object of a Python file."""
    return ".py:" in text


def names_module(text: str) -> bool:
    """Whether this has the form `package.module:name`."""
    return NAMED.fullmatch(text) is not None


def can_be_imported(text: str) -> bool:
    """Whether there is the outermost package of `package.module:name`; nothing is imported."""
    _look_in(Path.cwd())
    return importlib.util.find_spec(text.partition(":")[0].partition(".")[0]) is not None


def load_object(text: str) -> Any:
    """What `path/to/file.py:name` or `package.module:name` names; the code is run, once in a process.

    Raises `UsageError` where there is no such file or module, it cannot be run, or it has no such name.
    """
    module, (place, _, name) = load_module(text), text.rpartition(":")
    if not hasattr(module, name):
        raise UsageError(f"{place}: {unknown('name', name, [key for key in vars(module) if not key.startswith('_')])}")
    return getattr(module, name)


def load_module(text: str) -> ModuleType:
    """The file or module of `load_object`."""
    place = text.rpartition(":")[0]
    if names_module(text) and not is_own(text):
        return _import(place)
    path = Path(place)
    if not path.is_file():
        raise UsageError(f"{text}: there is no file {place}; path/to/file.py:name is needed")
    return sys.modules.get(_module_name(path)) or _run(path)


def _import(name: str) -> ModuleType:
    _look_in(Path.cwd())
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as problem:  # it is the user's code, which may raise anything
        if isinstance(problem, ModuleNotFoundError) and f"{name}.".startswith(f"{problem.name}."):
            raise UsageError(
                f"{name}: there is no module {problem.name}, neither installed nor in this folder"
            ) from problem
        raise UsageError(f"{name}: cannot be imported: {reason_of(problem)}") from problem


def _look_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _module_name(path: Path) -> str:
    return f"own_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"


def _run(path: Path) -> ModuleType:
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up the types of their fields there
    _look_in(path.resolve().parent)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as problem:  # it is the user's code, which may raise anything
        del sys.modules[name]
        raise UsageError(f"{path}: cannot be run: {reason_of(problem, path)}") from problem
    return module


def reason_of(problem: BaseException, path: Path | None = None) -> str:
    """Type and text of an error in a user's own code, with the line in its file."""
    frames = traceback.extract_tb(problem.__traceback__)
    lines = [frame.lineno for frame in frames if path is None or Path(frame.filename) == path.resolve()]
    line = getattr(problem, "lineno", None) or (lines[-1] if lines else None)
    text = " ".join(str(problem).split()) or "no message"
    return f"{type(problem).__name__}: {text}" + (f" (line {line})" if line else "")


def code_of(kind: type) -> str:
    """A digest of the file that defines a class, or of its own source in a notebook.

    Raises `UsageError` where neither can be had, since results could not be told apart after a change.
    """
    try:
        file = inspect.getsourcefile(kind)
        if file and Path(file).is_file():
            return sha256_of(Path(file))
        return digest([inspect.getsource(kind)])
    except (OSError, TypeError) as problem:
        raise UsageError(
            f"{kind.__qualname__}: its source cannot be found, so its results could not be told from those of another "
            "version; put the class into a file"
        ) from problem
