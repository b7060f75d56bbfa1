"""A weight matrix as llama.cpp would store it: rounded to a type and read back, by the installed llama.cpp itself."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.quantization import TYPES, tensor_bytes

_FLOATS = ctypes.POINTER(ctypes.c_float)


def rounded(weight: NDArray[np.float32], kind: str, importance: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """The weights that a runtime computes with once they are stored as `kind`.

    weight      (rows, columns) float32; a whole number of blocks per row
    importance  (columns,) float32: weight of a column's error; None: all the same
    """
    source = np.ascontiguousarray(weight, np.float32)
    if kind == "F16":
        return source.astype(np.float16).astype(np.float32)
    stored = np.empty(tensor_bytes(source.shape, kind), np.uint8)
    columns = None if importance is None else np.ascontiguousarray(importance, np.float32)
    written = _library().ggml_quantize_chunk(
        TYPES[kind].id, _at(source), stored.ctypes.data, 0, *source.shape, _at(columns)
    )
    assert written == stored.size, f"{kind}: ggml wrote {written} bytes of {stored.size}"
    found = np.empty_like(source)
    # Their names have the letters of K-quants large: q4_K, but iq4_xs and q4_0.
    read = getattr(_library(), f"dequantize_row_{kind.lower().replace('_k', '_K')}")
    read(ctypes.c_void_p(stored.ctypes.data), _at(found), ctypes.c_int64(source.size))
    return found


def _at(array: NDArray[np.float32] | None) -> Any:
    return None if array is None else array.ctypes.data_as(_FLOATS)


@cache
def _library() -> ctypes.CDLL:
    from llama_cpp._ggml import libggml

    quantize = libggml.ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    quantize.argtypes = [ctypes.c_int, _FLOATS, ctypes.c_void_p, *[ctypes.c_int64] * 3, _FLOATS]
    return libggml
