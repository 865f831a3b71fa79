"""Arrays in a file of `numpy.savez`, as TensorFlow and JAX models come.

Security: arrays of objects are pickles, which could run code; nothing is unpickled here. What an array claims to be is
compared with what the file holds before memory is taken for it.
"""

import math
import warnings
import zipfile
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fewshot_bn.errors import ModelError, some

ENLARGES_BY = 8  # times the size of the file; weights hardly compress, zeros do
NUMBERS = "fiub"  # kinds of numpy: floats, whole numbers, booleans
END = ".npy"


def read_npz_file(path: Path) -> dict[str, Tensor]:
    """The arrays in `path` by name. Raises `ModelError` for what is no array of numbers, `ValueError` for damage."""
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        inside, outside = sum(record.file_size for record in records), path.stat().st_size
        if inside > ENLARGES_BY * outside:
            raise ModelError(
                f"{path}: not read, because {outside:,} bytes claim to be {inside:,}; load it and save it with "
                "numpy.savez, which does not compress"
            )
        others = [record.filename for record in records if not record.filename.endswith(END)]
        if others or not records:
            found = some(others) if others else "nothing"
            raise ModelError(f"{path}: no file of numpy.savez, but a zip archive of {found}")
        twice = [name for name, n in Counter(record.filename for record in records).items() if n > 1]
        if twice:
            raise ModelError(f"{path}: holds {some(twice)} twice; save it anew")
        return {
            record.filename.removesuffix(END): _array(archive.read(record), f"{path}: {record.filename}")
            for record in records
        }


def _array(data: bytes, where: str) -> Tensor:
    shape, is_fortran, dtype, start = _header(data, where)
    if dtype.hasobject:
        raise ModelError(f"{where} not read, because it holds objects, which could run code (nothing was run)")
    if dtype.kind not in NUMBERS:
        raise ModelError(f"{where} holds {dtype}, numbers are needed")
    claimed, held = math.prod(shape) * dtype.itemsize, len(data) - start
    if claimed != held:
        raise ModelError(f"{where} claims {claimed:,} bytes and holds {held:,}: damaged; get it again")
    values: np.ndarray = np.ndarray(shape, dtype, data, start, order="F" if is_fortran else "C")
    return torch.from_numpy(values.astype(dtype.newbyteorder("="), order="C"))


def _header(data: bytes, where: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether columns come first, type, and where the numbers begin."""
    stream = BytesIO(data)
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ModelError(f"{where} has version {version} of numpy's format, which is for arrays of records")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that Python 2 wrote
        shape, is_fortran, dtype = readers[version](stream)
    return shape, is_fortran, dtype, stream.tell()
