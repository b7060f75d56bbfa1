"""Peak memory of a runtime with a model, and whether it fits. Not fitting is a failure, never a slow number."""

from __future__ import annotations

from edgedistill.predictor.estimate import Estimate

MIB = 1024 * 1024

RUNTIME_MIB = 32.0
"""Of llama.cpp without a model. Measured by this project with llama-cpp-python 0.3.36 on x86-64 Linux, 2026-11-21: peak
of a process that decodes, less Python, the file and the cache."""
RUNTIME_FACTOR = 1.5
"""80% interval of the memory that is neither weights nor cache."""
PREFILL_TOKENS = 512
"""Tokens that llama.cpp computes at once; its buffers are sized for them."""
USABLE = 0.8
"""Of a device's memory beside its system, where nobody says: 6.1 to 6.5 of 8 GiB on a Pi 5, 6.3 of 8 on an Orin Nano,
427 of 512 MiB on a Zero 2 W (sources in targets/)."""


def peak_mib(file_bytes: float, cache_bytes: float, vocab: int = 0, runtime_mib: float = RUNTIME_MIB) -> Estimate:
    """File, KV cache, logits' buffer and runtime.

    Exact for file and cache; but where llama.cpp has a faster layout for a type it copies the weights into it, beside
    the mapped file, so at the high end they count twice.
    """
    once = (file_bytes + cache_bytes) / MIB
    rest = runtime_mib + 4 * vocab * PREFILL_TOKENS / MIB
    low, high = once + rest / RUNTIME_FACTOR, once + file_bytes / MIB + rest * RUNTIME_FACTOR
    return Estimate(once + rest, low, high)


def shortfall(peak: Estimate, usable_mib: float, where: str) -> str:
    """Why it does not fit, when even the low end does not; else nothing.

    Paging costs a factor of 13 to 80 (published: a Pi Zero 2 W, a Pi 5), or the process is killed.
    """
    if peak.low <= usable_mib:
        return ""
    return f"needs {peak.value:,.0f} MiB, {where} has {usable_mib:,.0f} MiB to use"
