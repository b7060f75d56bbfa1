"""Versions of everything that can change a result: for manifests and reports."""

from __future__ import annotations

import platform
from importlib import metadata

from edgedistill.toolchain import llama_cpp

_PACKAGES = (
    "edgedistill",
    "accelerate",
    "datasets",
    "gguf",
    "llama-cpp-python",
    "lm-eval",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxruntime-genai",
    "peft",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
    "trl",
)


def versions() -> dict[str, str]:
    """Name -> version, of those that are installed; llama.cpp by the hash of its source archive."""
    found = {"python": platform.python_version(), "llama.cpp source sha256": llama_cpp.SHA256}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return dict(sorted(found.items()))
