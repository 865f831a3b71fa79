"""Files of torch.save, read so that nothing in them runs and nothing costs more than the file is large.

The names that a file asks for are listed before it is loaded. Those that make tensors are torch's own; those of
companions of weights (`args`, accuracies, paths) become stand-ins that keep nothing; any other stops the reading.

Raises: `ModelError`, which says whether a file is damaged, is something else, or holds what could run code.
Source: the pickle opcodes in Python's `pickletools`; torch.load reads a subset of them with `weights_only=True`.
"""

import pickletools
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any, cast

import torch

from fewshot_bn.errors import ModelError, some

TENSORS = {
    *(f"torch._utils._rebuild_{what}" for what in ("tensor", "tensor_v2", "tensor_v3", "parameter", "qtensor")),
    *(f"torch._utils._rebuild_{what}" for what in ("parameter_with_state", "sparse_tensor", "meta_tensor_no_storage")),
    *("torch._tensor._rebuild_from_type_v2", "torch.serialization._get_layout", "torch.nn.parameter.Parameter"),
    *("torch.Tensor", "torch.Size", "torch.device", "torch.storage.UntypedStorage", "torch.storage.TypedStorage"),
    *("collections.OrderedDict", "collections.Counter", "builtins.set", "builtins.complex", "_codecs.encode"),
    *("torch.per_tensor_affine", "torch.per_tensor_symmetric", "torch.per_channel_affine"),
    *("torch.per_channel_symmetric", "torch.per_channel_affine_float_qparams"),
}
VALUES = {
    "argparse": "Namespace",
    "builtins": "object type int float bool str bytes list dict tuple frozenset range slice NoneType",
    "datetime": "date time datetime timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "types": "SimpleNamespace NoneType",
    "uuid": "UUID",
    **dict.fromkeys(
        ("pathlib", "pathlib._local"),
        "Path PurePath PosixPath PurePosixPath WindowsPath PureWindowsPath",
    ),
    "numpy": "dtype ndarray bool bool_ str_ bytes_ float16 float32 float64 longdouble complex64 complex128 int8 int16 "
    "int32 int64 uint8 uint16 uint32 uint64 datetime64 timedelta64",
    "numpy.dtypes": "BoolDType Float16DType Float32DType Float64DType Int8DType Int16DType Int32DType Int64DType "
    "UInt8DType UInt16DType UInt32DType UInt64DType StrDType BytesDType ObjectDType Complex64DType Complex128DType",
    **dict.fromkeys(("numpy.core.multiarray", "numpy._core.multiarray"), "scalar _reconstruct"),
    **dict.fromkeys(("numpy.core.numeric", "numpy._core.numeric"), "_frombuffer"),
    "torch.torch_version": "TorchVersion",
}
CONTAINERS: dict[str, Callable[[], Any]] = {"collections.defaultdict": dict, "collections.deque": list}
MODULES = "torch.nn.modules."
ENLARGES_BY = 2  # a stored zip is never larger inside; weights hardly compress


def read_torch_file(path: Path) -> Any:
    """What torch.save put into `path`, on the CPU, with stand-ins for companions of other types."""
    with path.open("rb") as file:
        names = _names_in_zip(path, file) if zipfile.is_zipfile(file) else _names_in_stream(path, file)
    _refuse(path, names)
    with warnings.catch_warnings(), torch.serialization.safe_globals(_stand_ins()):
        warnings.simplefilter("ignore")  # of the protocol and of TypedStorage; what matters is raised
        return torch.load(path, map_location="cpu", weights_only=True)


def _names_in_zip(path: Path, file: BufferedIOBase) -> set[str]:
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        inside, outside = sum(record.file_size for record in records), path.stat().st_size
        if inside > ENLARGES_BY * outside:
            raise ModelError(
                f"{path}: not read, because it is compressed: {outside:,} bytes claim to be {inside:,}; load and save "
                "it with torch, which does not compress"
            )
        names = [record.filename for record in records]
        if any(Path(name).name == "constants.pkl" for name in names):
            raise ModelError(f"{path}: not read, because it is a TorchScript program; {_conversion(path, 'jit')}")
        pickles = [name for name in names if Path(name).name.lower() == "data.pkl"]
        if len(pickles) != 1:
            raise ModelError(f"{path}: no file of torch.save, but a zip archive of {some(names)}")
        with archive.open(pickles[0]) as pickled:
            return set(_names(pickled))


def _names_in_stream(path: Path, file: BufferedIOBase) -> set[str]:
    """The names in a file of torch.save before torch 1.6: a pickled number, four more pickles, then bare numbers."""
    file.seek(0)
    start = file.read(512)
    if what := _something_else(start):
        raise ModelError(f"{path}: no weights: {what}")
    if start.startswith(b"PK"):
        raise ValueError("the end of this zip archive is missing")
    file.seek(0)
    first = [(code.name, value) for code, value, _ in pickletools.genops(cast("IO[bytes]", file))]
    if ("LONG1", torch.serialization.MAGIC_NUMBER) not in first:
        file.seek(0)
        _refuse(path, set(_names(file)))
        raise ModelError(
            f"{path}: not read, because it is a plain pickle and no file of torch.save; {_conversion(path)}"
        )
    return {name for _ in range(4) for name in _names(file)}


def _something_else(start: bytes) -> str:
    if not start:
        return "the file is empty"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; get the file itself with git lfs pull"
    if start.lstrip()[:1] == b"<":
        return "it is a web page, perhaps of a download that asked to be confirmed; get the file again"
    if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")):
        return "it is a compressed file; unpack it first"
    return ""


def _names(file: Any) -> Iterator[str]:
    """The classes and functions that one pickle asks for. Raises `ValueError` where it is damaged."""
    strings: list[str] = []
    memo: dict[Any, str] = {}
    last = ""
    for code, value, _ in pickletools.genops(file):
        if code.name in ("GLOBAL", "INST"):
            module, _, name = str(value).partition(" ")
            yield _name_today(module, name)
        elif code.name == "STACK_GLOBAL":
            yield ".".join(strings[-2:])
        elif code.name == "MEMOIZE":
            memo[len(memo)] = last
            continue
        last = str(value) if "UNICODE" in code.name else memo.get(value, "") if code.name.endswith("BINGET") else ""
        if last:
            strings = [*strings[-1:], last]


def _name_today(module: str, name: str) -> str:
    """Protocol 2 writes the names of Python 2."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"


def _refuse(path: Path, names: set[str]) -> None:
    known = {*TENSORS, *CONTAINERS, *(f"{module}.{name}" for module in VALUES for name in VALUES[module].split())}
    strange = sorted(name for name in names - known if not _is_kind_of_numbers(name))
    if strange:
        shown = some([name if len(name) <= 80 else f"{name[:80]}…" for name in strange])
        raise ModelError(
            f"{path}: not read, because it holds more than tensors and plain values: {shown}, which could run code "
            f"(nothing was run); {_conversion(path, holds_network=any(name.startswith(MODULES) for name in strange))}"
        )


def _is_kind_of_numbers(name: str) -> bool:
    """A type of numbers (torch.float32), of storages or tensors (torch.FloatStorage, torch.cuda.FloatTensor)."""
    module, _, last = name.rpartition(".")
    if module == "torch" and isinstance(getattr(torch, last, None), torch.dtype):
        return True
    return module in ("torch", "torch.cuda") and last.isalnum() and last.endswith(("Storage", "Tensor"))


def _conversion(path: Path, kind: str = "", *, holds_network: bool = False) -> str:
    load = f"torch.jit.load({path.name!r})" if kind else f"torch.load({path.name!r}, weights_only=False)"
    if kind or holds_network:
        keep = "torch.save(x.state_dict(), 'weights.pth')"
    else:
        keep = "torch.save({k: v for k, v in x[\"state_dict\"].items() if torch.is_tensor(v)}, 'weights.pth')"
    network = ', or x["model"].state_dict() if the network is an entry'
    note = "" if kind else network if holds_network else ", with the entry that holds the weights"
    return f"if you trust it, convert it once in Python: `import torch; x = {load}` and `{keep}`{note}"


class _Nothing:
    """Stands for a value that is not needed: made of anything, keeps nothing, does nothing."""

    def __new__(cls, *_: Any) -> "_Nothing":
        return object.__new__(cls)

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


def _stand_ins() -> list[Any]:
    """What torch may use for the names in `VALUES` and `CONTAINERS`: it goes by module and name."""
    nothings = [
        type(name, (_Nothing,), {"__module__": module, "__qualname__": name})
        for module, names in VALUES.items()
        for name in names.split()
    ]
    return [*nothings, *(_container(name, make) for name, make in CONTAINERS.items())]


def _container(path: str, make: Callable[[], Any]) -> Callable[..., Any]:
    def stand_in(*_: Any) -> Any:
        return make()

    stand_in.__module__, _, stand_in.__qualname__ = path.rpartition(".")
    return stand_in
