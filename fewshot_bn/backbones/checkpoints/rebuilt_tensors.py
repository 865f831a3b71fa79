"""Tensors from what pickles say of them: of PyTorch, numpy and JAX. Each number is checked before it is used.

Nothing larger than the bytes in the file is made: shapes that claim more, or strides that reach outside, are refused.
What is no plain tensor of numbers (of objects, of texts, sparse, quantised) stays the dictionary of what it is made of.

Raises: `ValueError`.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "Untyped": torch.uint8,
}
DTYPES = {str(dtype): dtype for dtype in STORAGES.values()}
NUMBERS = re.compile(r"[<>=|]?(b1|i[1248]|u[1248]|f[248]|c8|c16)")
BFLOAT16 = "bfloat16"
MOST_AXES = 64  # as in numpy and PyTorch
Maker = Callable[[tuple[Any, ...], Any], Any]


def is_storage(key: Any) -> bool:
    """How a pickle refers to numbers outside of it: `("storage", type, key, place, number)`, and perhaps a view."""
    if not isinstance(key, tuple) or len(key) not in (5, 6) or key[0] != "storage":
        return False
    return isinstance(key[2], str) and _natural(key[4])


def storage_type(name: str) -> torch.dtype | None:
    return STORAGES.get(name.rpartition(".")[2].removesuffix("Storage"))


def storage(key: Any, read: Callable[[str], bytes]) -> Any:
    """The numbers that a pickle refers to by `key`."""
    if not is_storage(key):
        raise ValueError("it refers to something outside of it that is no storage")
    dtype = storage_type(_text(key[1]))
    if dtype is None:
        return {"storage": key[1]}
    content = read(key[2])
    if len(content) < key[4] * dtype.itemsize:
        raise ValueError(f"a storage has {len(content):,} bytes instead of {key[4] * dtype.itemsize:,}")
    numbers = _of_bytes(memoryview(content)[: key[4] * dtype.itemsize], dtype)
    if len(key) == 6 and key[5] is not None:
        _, offset, n = checked(key[5], 3)
        return _view(numbers, offset, (n,), (1,))
    return numbers


def _of_bytes(content: memoryview, dtype: torch.dtype) -> Tensor:
    """A tensor of the bytes themselves, which nobody else keeps."""
    return torch.frombuffer(content, dtype=dtype) if len(content) else torch.empty(0, dtype=dtype)


def _natural(*numbers: Any) -> bool:
    return all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**63 for n in numbers)


def _text(value: Any) -> str:
    """Anything else is not turned into text, which may take for ever."""
    return value if isinstance(value, str) else ""


def _is_shape(numbers: Any) -> bool:
    return isinstance(numbers, tuple | list) and len(numbers) <= MOST_AXES and _natural(*numbers)


def checked(values: Any, n: int) -> tuple[Any, ...]:
    if not isinstance(values, tuple) or len(values) < n:
        raise ValueError(f"{n} values are needed to make a tensor")
    return values[:n]


def _view(numbers: Tensor, offset: Any, shape: Any, strides: Any) -> Tensor:
    """Raises `ValueError` if any of it lies outside of `numbers`."""
    if not _is_shape(shape) or not _is_shape(strides) or not _natural(offset) or len(shape) != len(strides):
        raise ValueError("a tensor has an impossible shape")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if (math.prod(shape) and last >= len(numbers)) or math.prod(shape) >= 2**63:
        raise ValueError(f"a tensor of shape {tuple(shape)} reaches outside of its {len(numbers):,} numbers")
    return numbers.as_strided(tuple(shape), tuple(strides), offset) if math.prod(shape) else numbers.new_empty(shape)


def _tensor(arguments: tuple[Any, ...], _: Any) -> Any:
    numbers, offset, shape, strides = checked(arguments, 4)
    if not isinstance(numbers, Tensor) or numbers.ndim != 1:
        return {str(place): value for place, value in enumerate(arguments)}
    return _view(numbers, offset, shape, strides)


def _tensor_of_type(arguments: tuple[Any, ...], state: Any) -> Any:
    """With the type of its numbers apart: their storage is one of bytes, or of that type."""
    dtype = DTYPES.get(_text(checked(arguments, 7)[6]))
    numbers = arguments[0]
    if dtype is None or not isinstance(numbers, Tensor) or numbers.ndim != 1:
        return {str(place): value for place, value in enumerate(arguments)}
    content = numbers.view(torch.uint8)
    if len(content) % dtype.itemsize:
        raise ValueError(f"{len(content):,} bytes are no whole number of {dtype}")
    return _tensor((content.view(dtype), *arguments[1:]), state)


def _of_subclass(arguments: tuple[Any, ...], state: Any) -> Any:
    maker, _, inner = checked(arguments, 3)
    made = TENSOR_MAKERS.get(maker) if isinstance(maker, str) else None
    return made(inner, state) if made and isinstance(inner, tuple) and made is not _of_subclass else None


def first(arguments: tuple[Any, ...], _: Any) -> Any:
    return checked(arguments, 1)[0]


def _dtype(arguments: tuple[Any, ...], state: Any) -> Any:
    """As text: `<f4`, or `bfloat16` of ml_dtypes, which numpy does not have."""
    name = _text(checked(arguments, 1)[0])
    if name.rpartition(".")[2] == BFLOAT16:
        return BFLOAT16
    if isinstance(state, tuple) and len(state) > 4 and (state[2] is not None or state[4] is not None):
        return "of several parts"
    order = state[1] if isinstance(state, tuple) and len(state) > 1 else ""
    return (order if order in ("<", ">") and name[:1] not in "<>=|" else "") + name


def _numpy(shape: Any, dtype: Any, content: Any, order: Any = None) -> Any:
    """A tensor, or what there is of an array that holds no numbers."""
    if isinstance(content, str):
        content = content.encode("latin1")  # Python 2
    numbers = dtype == BFLOAT16 or NUMBERS.fullmatch(_text(dtype))
    if not numbers or not isinstance(content, bytes | bytearray):
        return {"shape": shape, "dtype": dtype, "content": content}
    if not _is_shape(shape):
        raise ValueError("an array has an impossible shape")
    held = np.dtype("<u2" if dtype == BFLOAT16 else dtype)
    if math.prod(shape) * held.itemsize != len(content):
        raise ValueError(f"an array of shape {shape} has {len(content):,} bytes")
    array = np.frombuffer(content, held).reshape(shape, order="F" if order in (True, "F") else "C")
    tensor = torch.from_numpy(array if held.isnative else array.astype(held.newbyteorder("=")))
    return tensor.view(torch.bfloat16) if dtype == BFLOAT16 else tensor


def _array(_: tuple[Any, ...], state: Any) -> Any:
    if state is None:
        return None  # one that was never filled
    if not isinstance(state, tuple) or len(state) not in (4, 5):
        raise ValueError("an array is made of no shape, type and bytes")
    shape, dtype, order, content = state[-4:]
    return _numpy(shape, dtype, content, order)


def _array_of_buffer(arguments: tuple[Any, ...], _: Any) -> Any:
    content, dtype, shape, order = checked(arguments, 4)
    return _numpy(shape, dtype, content, order)


def _scalar(arguments: tuple[Any, ...], _: Any) -> Any:
    """A number of Python's."""
    dtype, content = checked(arguments, 2)
    value = _numpy((), dtype, content)
    return value.item() if isinstance(value, Tensor) else value


def _called(arguments: tuple[Any, ...], _: Any) -> Any:
    """By JAX and dill: a function of numpy, what it is given, and the state of the array."""
    _, _, state = checked(arguments, 3)
    return _array((), state)


TENSOR_MAKERS: dict[str, Maker] = {
    **dict.fromkeys(("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"), _tensor),
    "torch._utils._rebuild_tensor_v3": _tensor_of_type,
    **dict.fromkeys(("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"), first),
    **dict.fromkeys(("torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"), first),
    "torch._tensor._rebuild_from_type_v2": _of_subclass,
    "numpy.dtype": _dtype,
    **{f"numpy.{core}.multiarray._reconstruct": _array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _array_of_buffer for core in ("core", "_core")},
    **dict.fromkeys(("jax._src.array._reconstruct_array", "jax._src.device_array.reconstruct_device_array"), _called),
    "dill._dill._create_array": _called,
}
