"""16-bit GGUF -> smaller types, by the installed llama.cpp. Runs in a process of its own."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

from edgedistill import imatrix_file
from edgedistill.imatrix_file import Importance
from edgedistill.quantization import QUANTS, TYPES
from edgedistill.toolchain import subprocesses


def quantize(request: dict[str, Any]) -> dict[str, Any]:
    """`{source, out, quant, threads, types, imatrix}` -> `{}`; the file lies at `out`. llama.cpp's log goes to stderr.

    types    tensor -> type, in place of llama.cpp's own choice
    imatrix  file of an importance matrix, or None
    """
    import llama_cpp

    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = QUANTS[request["quant"]].ftype
    settings.nthread = request["threads"]
    kept = [_overrides(settings, request["types"])]  # the settings hold pointers only
    if request["imatrix"]:
        path = Path(request["imatrix"])
        entries = imatrix_file.read(path)
        kept += [_importance(settings, entries), _origin(settings, path, entries)]
    source, out = request["source"].encode(), request["out"].encode()
    if llama_cpp.llama_model_quantize(source, out, ctypes.byref(settings)):
        raise SystemExit(f"llama.cpp could not quantize to {request['quant']}")
    return {}


def _overrides(settings: Any, types: dict[str, str]) -> Any:
    """llama.cpp searches each pattern in the tensor's name, so each is made to fit one name only."""
    import llama_cpp

    made = (llama_cpp.llama_model_tensor_override * (len(types) + 1))()
    for place, (name, kind) in zip(made, types.items(), strict=False):
        place.pattern, place.type = f"^{re.escape(name)}$".encode(), TYPES[kind].id
    if types:
        settings.tt_overrides = made
    return made


def _importance(settings: Any, entries: dict[str, Importance]) -> Any:
    import llama_cpp

    made = (llama_cpp.llama_model_imatrix_data * (len(entries) + 1))()
    means = [entry.means.ravel() for entry in entries.values()]
    for place, name, values in zip(made, entries, means, strict=False):
        place.name, place.size = name.encode(), values.size
        place.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    settings.imatrix = made
    return made, means


def _origin(settings: Any, path: Path, entries: dict[str, Importance]) -> Any:
    """What llama-quantize writes about the importance matrix into the file's metadata."""
    import llama_cpp

    about = imatrix_file.about(path)
    texts = {"file": path.name, "dataset": about.source}
    numbers = {"entries_count": len(entries), "chunks_count": about.chunks}
    made = (llama_cpp.llama_model_kv_override * (len(texts) + len(numbers) + 1))()
    for place, (name, value) in zip(made, {**texts, **numbers}.items(), strict=False):
        place.key = f"quantize.imatrix.{name}".encode()
        if isinstance(value, str):
            place.tag, place.value.val_str = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_STR, value.encode()[:127]
        else:
            place.tag, place.value.val_i64 = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_INT, value
    settings.kv_overrides = made
    return made


if __name__ == "__main__":
    subprocesses.main(quantize)
