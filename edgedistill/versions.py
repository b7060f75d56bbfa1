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
    found |= {name: version for name in _PACKAGES if (version := of_package(name))}
    return dict(sorted(found.items()))


def of_package(name: str) -> str:
    """Empty where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
