"""What is asked of a device: one model in one format, run in one way."""

from __future__ import annotations

from dataclasses import dataclass

CURRENT = 2026.9
"""Year and month of a build that nobody dates: this package's own llama.cpp."""


@dataclass(frozen=True)
class Work:
    """A model need not exist; its sizes do."""

    quant: str
    """Family of the kernel: Q4_K, Q8_0, int4."""
    read_bytes: float
    """Of weights, per decoded token: the file, less an input embedding that is not the head too; active experts."""
    read_weights: float
    """Weights that one decoded token multiplies with."""
    body_weights: float
    """Weights that one prompt token multiplies with: without embeddings and head."""
    layers: int = 28
    cache_bytes_per_token: float = 28 * 2 * 1024 * 2
    """Keys and values of all layers."""
    context: float = 64
    """Tokens in the cache while decoding, on average."""
    prompt_tokens: float = 128
    threads: int | None = None
    """None: one for each big core."""
    prompt_threads: int | None = None
    """While reading the prompt, where that differs."""
    backend: str = "cpu"
    """cpu, gpu or npu"""
    runtime: str = "llama.cpp"
    """A name that formula.py knows by itself, or another runtime's."""
    built: float = CURRENT
    """Year and month of the runtime, as 2025.5."""
    is_size_known: bool = True
    """Whether `read_bytes` come from a file, not from parameters and the usual bits of a type."""
    is_rearranged: bool | None = None
    """Whether a faster layout of the weights is used. None: as that build does by itself."""
