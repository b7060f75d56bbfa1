"""F16 GGUF -> smaller types, by the installed llama.cpp. Runs in a process of its own."""

from __future__ import annotations

import ctypes
from typing import Any

from edgedistill.quantization import QUANTS
from edgedistill.toolchain import subprocesses


def quantize(request: dict[str, Any]) -> dict[str, Any]:
    """`{source, out, quant, threads}` -> `{}`; the file lies at `out`. llama.cpp's own log goes to stderr."""
    import llama_cpp

    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = QUANTS[request["quant"]].ftype
    settings.nthread = request["threads"]
    source, out = request["source"].encode(), request["out"].encode()
    if llama_cpp.llama_model_quantize(source, out, ctypes.byref(settings)):
        raise SystemExit(f"llama.cpp could not quantize to {request['quant']}")
    return {}


if __name__ == "__main__":
    subprocesses.main(quantize)
