"""A row of a table of published measurements, as a device and the work that was measured there.

Columns as people publish them: device, cpu_cores_used(threads), backend, runtime, runtime_version_or_date, model,
params_b, quant, file_size_gib, n_prompt, n_gen, ram_gb, source_note. Measured speeds are not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgedistill.predictor import families, quants
from edgedistill.predictor.families import Family
from edgedistill.predictor.work import CURRENT, Work

GIB = 2**30

_EXPERTS = re.compile(r"\bmoe\b|per-layer|a\d+(\.\d+)?[bm]\b|\be[24]b\b|gemma-?3n", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """`work` is None where the row does not say enough; `reason` says what is missing."""

    id: str
    device: str
    work: Work | None
    reason: str = ""
    file_bytes: float = 0.0
    ram_mib: float | None = None
    is_dense: bool = True


def read(row: Mapping[str, str]) -> Row:
    """What the row asks."""
    model, note = row.get("model") or "", row.get("source_note") or ""
    quant = quants.family(row.get("quant") or "", model)
    ram = _number(row, "ram_gb")
    found = Row(
        row.get("id") or "",
        row.get("device") or "",
        None,
        ram_mib=ram * 1024 if ram else None,
        is_dense=not _EXPERTS.search(f"{model} {note}"),
    )
    if quant is None:
        return replace(found, reason=f"unknown quantization {row.get('quant')!r}")
    size, count = _number(row, "file_size_gib"), _number(row, "params_b")
    if size is None and count is None:
        return replace(found, reason="neither parameters nor file size are given")
    sizes = _sizes(model, quant, count * 1e9 if count else None, size * GIB if size else None)
    return replace(found, work=_work(row, quant, note, sizes), file_bytes=sizes.file)


@dataclass(frozen=True)
class _Sizes:
    file: float
    read: float
    weights: float
    body: float
    family: Family


def _sizes(model: str, quant: str, parameters: float | None, file: float | None) -> _Sizes:
    """Bytes and weights of one token, from what is given and what is known of the family."""
    bits = quants.BITS[quant]
    parameters = parameters or (file or 0.0) * 8 / bits
    family = families.of_model(model) or families.unknown(parameters)
    tied = family.tied and not family.is_stored_twice(parameters)
    file = file or quants.file_bytes(quant, parameters, family.embedding if tied else 0.0)
    unread = 0.0 if tied else family.embedding
    read, weights = file - unread * min(bits, file * 8 / parameters) / 8, parameters - unread
    body = weights - family.embedding
    if family.active_b:
        active = family.active_b * 1e9
        return _Sizes(file, file * active / parameters, active, active - family.embedding / 2, family)
    return _Sizes(file, read, weights, max(body, 0.2 * weights), family)


def _work(row: Mapping[str, str], quant: str, note: str, sizes: _Sizes) -> Work:
    runtime, backend = row.get("runtime") or "llama.cpp", (row.get("backend") or "").split(" ")[0]
    threads = int(_number(row, "cpu_cores_used(threads)") or 0) or None
    filled = re.search(r"after (\d+) tokens in the KV cache", note)
    own = re.search(r"prefill with (\d+) threads", note)
    written, prompt = _number(row, "n_gen") or 128.0, _number(row, "n_prompt")
    is_bench = prompt is None or "llama" in runtime
    return Work(
        quant=quant,
        read_bytes=sizes.read,
        read_weights=sizes.weights,
        body_weights=sizes.body,
        layers=sizes.family.layers,
        cache_bytes_per_token=2 * 2 * sizes.family.layers * sizes.family.kv_width,
        # llama-bench decodes from an empty cache; others go on after the prompt.
        context=float(filled[1]) if filled else written / 2 + (0.0 if is_bench else prompt or 0.0),
        prompt_tokens=prompt or 128.0,
        threads=threads,
        prompt_threads=int(own[1]) if own else None,
        backend=backend or _usual_backend(row),
        runtime=_runtime(runtime),
        built=_built(row.get("runtime_version_or_date") or "", runtime),
        is_size_known=_number(row, "file_size_gib") is not None,
        is_rearranged=_rearranged(note),
    )


def _usual_backend(row: Mapping[str, str]) -> str:
    """Of a row without one: Ollama takes a Mac's GPU."""
    return "gpu" if row.get("runtime") == "ollama" and "mac" in (row.get("device") or "") else "cpu"


def _runtime(name: str) -> str:
    plain = name.replace("llama-cpp-python", "llama.cpp").split(" ")[0]
    return plain.split("(")[0]


def _built(text: str, runtime: str) -> float:
    """Year and month as 2025.5; the middle of a year without a month; current where nothing is said."""
    if found := re.search(r"(20[12]\d)-(\d\d)", text) or re.search(r"\b(20[12]\d)([01]\d)\d\d\b", text):
        return int(found[1]) + (int(found[2]) - 1) / 12
    if found := re.search(r"20[12]\d", text):
        return int(found[0]) + 0.5
    return 2024.4 if runtime == "ollama" and re.match(r"v?0\.1\.", text) else CURRENT


def _rearranged(note: str) -> bool | None:
    if re.search(r"repack off|no ARM repack|before the change", note):
        return False
    return True if re.search(r"repack on|after the change", note) else None


def _number(row: Mapping[str, str], column: str) -> float | None:
    text = (row.get(column) or "").strip()
    try:
        return float(text) if text else None
    except ValueError:
        return None
