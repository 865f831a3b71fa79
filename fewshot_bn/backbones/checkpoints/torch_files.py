"""Files of torch.save, of TorchScript and plain pickles, read so that nothing in them runs.

A file that asks for nothing but tensors is read by torch.load with `weights_only=True`. Any other is read by the
machine of unpickling.py, which imports and calls nothing, and rebuilt as tensors and plain containers. Neither makes
more than the file is large. Names that only files which run code ask for are refused: nobody should use such a file.

Raises: `ModelError`, which says what a file is, and `ValueError` if it is damaged.
"""

import warnings
import zipfile
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import IO, Any, cast

import torch

from fewshot_bn.backbones.checkpoints.kinds import N_START, is_text, something_else
from fewshot_bn.backbones.checkpoints.rebuilding import Outside, in_order, rebuilt
from fewshot_bn.backbones.checkpoints.rebuilt_tensors import is_storage, storage_type
from fewshot_bn.backbones.checkpoints.unpickling import PERSISTENT, Made, Name, read_pickle
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
CODE_MODULES = {
    *("os", "posix", "nt", "sys", "subprocess", "shutil", "socket", "runpy", "importlib", "pty", "ctypes"),
    *("webbrowser", "pdb", "bdb", "codeop", "timeit"),
}
CODE = {
    "code": "interact InteractiveInterpreter InteractiveConsole",  # many a project has a folder of this name
    "builtins": "eval exec open compile __import__ input breakpoint execfile",
    **dict.fromkeys(("io", "_io"), "open open_code FileIO"),
    **dict.fromkeys(("pickle", "_pickle", "marshal", "dill", "dill._dill", "cloudpickle"), "load loads"),
    **dict.fromkeys(("torch", "torch.serialization", "torch.hub", "torch.jit"), "load"),
}
ENLARGES_BY = 2  # a stored zip is never larger inside; weights hardly compress


def read_torch_file(path: Path) -> Any:
    """What `path` holds, on the CPU, as tensors and plain containers."""
    with warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore")  # of the protocol, of TypedStorage, of bytes that a tensor could be written to
        return _read_zip(path, file) if zipfile.is_zipfile(file) else _read_stream(path, file)


def _read_zip(path: Path, file: BufferedIOBase) -> Any:
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        inside, outside = sum(record.file_size for record in records), path.stat().st_size
        if inside > ENLARGES_BY * outside:
            raise ModelError(
                f"{path}: not read, because it is compressed: {outside:,} bytes claim to be {inside:,}; load and save "
                "it with torch, which does not compress"
            )
        pickles = [record.filename for record in records if Path(record.filename).name.lower() == "data.pkl"]
        if len(pickles) != 1:
            raise ModelError(
                f"{path}: no file of torch.save, but a zip archive of {some([record.filename for record in records])}"
            )
        folder = pickles[0][: -len("data.pkl")]
        root, names = read_pickle(BytesIO(archive.read(pickles[0])))
        _refuse_code(path, names)
        order = in_order(root)
        if f"{folder}constants.pkl" not in archive.namelist() and _only_tensors(names):
            file.seek(0)  # a path that ends in .safetensors would be read as such
            return torch.load(cast("IO[bytes]", file), map_location="cpu", weights_only=True)
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise ModelError(f"{path}: not read: its bytes are in the order of another kind of machine (big-endian)")
        kept: dict[str, bytes] = {}

        def read(key: str) -> bytes:
            if key not in kept:
                kept[key] = archive.read(f"{folder}data/{key}")
            return kept[key]

        return rebuilt(root, order, Outside(read, _read_within, outside))


def _read_stream(path: Path, file: BufferedIOBase) -> Any:
    file.seek(0)
    start = file.read(N_START)
    if what := something_else(start):
        raise ModelError(f"{path}: no weights: {what}")
    if start.startswith(b"PK"):
        raise ValueError("the end of this zip archive is missing")
    reader = _Reader(file, path.stat().st_size)
    if not _starts_stream(start):
        file.seek(0)
        try:
            root, names = read_pickle(reader)
        except ValueError:
            if is_text(start):
                raise ModelError(f"{path}: no weights: it is text") from None
            raise
        _refuse_code(path, names)
        return rebuilt(root, in_order(root), Outside(_nothing_within, _read_within, reader.n_bytes))
    file.seek(0)
    parts = [read_pickle(reader) for _ in range(5)]
    names = set().union(*(names for _, names in parts))
    _refuse_code(path, names)
    if _only_tensors(names):
        in_order(parts[3][0])  # raises if what it shares is too much
        file.seek(0)
        return torch.load(cast("IO[bytes]", file), map_location="cpu", weights_only=True)
    return _of_stream(parts[3][0], parts[4][0], reader)


def _read_within(content: Any) -> Any:
    """A storage, as pickle itself writes it: a file in the old form within a pickle."""
    if not isinstance(content, bytes) or not _starts_stream(content[:512]):
        raise ValueError("the bytes of a storage are none")
    reader = _Reader(BytesIO(content), len(content))
    parts = [read_pickle(reader) for _ in range(5)]
    return _of_stream(parts[3][0], parts[4][0], reader)


def _of_stream(root: Any, keys: Any, reader: "_Reader") -> Any:
    """The form before torch 1.6: three pickles, that of `root`, that of the keys of storages, their bytes."""
    order = in_order(root)
    outside = [made.arguments[0] for made in order if isinstance(made, Made) and made.name == PERSISTENT]
    types = {key[2]: storage_type(key[1].text) for key in outside if is_storage(key) and isinstance(key[1], Name)}
    kept: dict[str, bytes] = {}
    for key in keys:
        dtype, n = types[key], int.from_bytes(reader.exactly(8), "little")
        if dtype is None:
            raise ValueError(f"a storage of unknown type, {key}")
        kept[key] = reader.exactly(n * dtype.itemsize)
    return rebuilt(root, order, Outside(kept.__getitem__, _nothing_within, reader.n_bytes))


def _nothing_within(_: Any) -> bytes:
    raise ValueError("it refers to something outside of it")


def _starts_stream(start: bytes) -> bool:
    try:
        return bool(read_pickle(BytesIO(start))[0] == torch.serialization.MAGIC_NUMBER)
    except ValueError:
        return False


def _only_tensors(names: set[str]) -> bool:
    return all(name in TENSORS or _is_kind_of_numbers(name) for name in names)


def _is_kind_of_numbers(name: str) -> bool:
    """A type of numbers (torch.float32), of storages or tensors (torch.FloatStorage, torch.cuda.FloatTensor)."""
    module, _, last = name.rpartition(".")
    if module == "torch" and isinstance(getattr(torch, last, None), torch.dtype):
        return True
    return module in ("torch", "torch.cuda") and last.isalnum() and last.endswith(("Storage", "Tensor"))


def _refuse_code(path: Path, names: set[str]) -> None:
    """Names are only compared; what they name is harmless here, and may not be where a file is read without care."""
    strange = sorted(name for name in names if _runs_code(name))
    if strange:
        shown = some([name if len(name) <= 80 else f"{name[:80]}…" for name in strange])
        raise ModelError(
            f"{path}: not read, because it asks for {shown}, which no weights need and which runs code or opens files "
            "(nothing was run); get these weights from a source that you trust, as safetensors if there are any"
        )


def _runs_code(name: str) -> bool:
    module, _, last = name.rpartition(".")
    return name.split(".", maxsplit=1)[0] in CODE_MODULES or last in CODE.get(module, "").split()


class _Reader:
    """A file that is asked for more bytes than it has gives those, and makes room for no more."""

    def __init__(self, file: BufferedIOBase, n_bytes: int) -> None:
        self.n_bytes = n_bytes
        self.readline, self.tell, self._read = file.readline, file.tell, file.read

    def read(self, n: int) -> bytes:
        return self._read(max(0, min(n, self.n_bytes - self.tell())))

    def exactly(self, n: int) -> bytes:
        if len(content := self.read(n)) < n:
            raise ValueError(f"{n:,} bytes are needed and {len(content):,} are left")
        return content
