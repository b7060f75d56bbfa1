"""`predict`: speed and memory of a model that need not exist, for one target or for each row of a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from edgedistill.errors import UsageError
from edgedistill.log import say
from edgedistill.predictor import memory, parameters, quants, rows
from edgedistill.predictor import predict as predictor
from edgedistill.predictor.estimate import Estimate
from edgedistill.predictor.predict import Speed
from edgedistill.predictor.work import Work

_NEEDED = {"target": "--target", "params": "--params", "read_bytes": "--bytes", "quant": "--quant"}
_EXAMPLE = "for example `edgedistill predict --target rpi5 --params 1.1e9 --bytes 6.4e8 --quant Q4_0`"


def run(*, rows: Path | None, as_json: bool, **options: Any) -> int:
    """Print predictions. 1 when the model does not fit the target, else 0."""
    if rows:
        return _table(rows, as_json)
    missing = [flag for name, flag in _NEEDED.items() if options[name] is None]
    if missing:
        raise UsageError(f"missing {', '.join(missing)}; or --rows FILE for a table", _EXAMPLE)
    return _one(as_json, **options)


def _one(as_json: bool, **options: Any) -> int:
    from edgedistill import target as targets
    from edgedistill.predictor import chips, own_board

    device = targets.load(options["target"])
    work = _work(options, device.threads, device.backend)
    for guess in targets.guesses(device):
        say(f"{device.name}: {guess}")
    peak = memory.peak_mib(options["file_bytes"] or work.read_bytes, work.cache_bytes_per_token * options["context"])
    usable = device.usable_ram_mib
    lacking = memory.shortfall(peak, usable.value, device.name) if usable else ""
    if lacking:
        found = predictor.declined(lacking)
    else:
        found = predictor.speed(work, chips.of_target(device), own_board.stored(device.name))
    code = 1 if lacking else 0
    if as_json:
        line = {"target": device.name, "fits": not lacking, "memory_mib": asdict(peak), **_as_json(found)}
        click.echo(json.dumps({"schema": "edgedistill.predict/1", **line, "exit_code": code}, indent=2))
    else:
        click.echo("\n".join(_page(device.title, found, peak, work)))
    return code


def _work(options: Mapping[str, Any], threads: int | None, backend: str) -> Work:
    kind = quants.family(options["quant"])
    if kind is None:
        near = quants.near(options["quant"])
        raise UsageError(f"unknown quantization `{options['quant']}`{near}", f"known kinds: {', '.join(quants.BITS)}")
    active = options["active_params"] or options["params"]
    for less, more in (("active_params", "params"), ("prompt_tokens", "context")):
        if (options[less] or 0) > options[more]:
            flags = [f"--{name.replace('_', '-')} {options[name]:,.0f}" for name in (less, more)]
            raise UsageError(" is more than ".join(flags))
    guess = Work.cache_bytes_per_token * min(1.0, options["params"] / 1e9)
    return Work(
        quant=kind,
        read_bytes=options["read_bytes"],
        read_weights=active,
        body_weights=active,
        context=min(options["context"], options["prompt_tokens"] + 64),
        prompt_tokens=options["prompt_tokens"],
        threads=options["threads"] or threads,
        backend=options["backend"] or backend,
        runtime=options["runtime"],
        cache_bytes_per_token=guess if options["kv_bytes"] is None else options["kv_bytes"],
    )


def _table(path: Path, as_json: bool) -> int:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as a table: {error}") from None
    needed = {"id", "device", "model", "quant"}
    if table and not needed <= table[0].keys():
        raise UsageError(f"{path} lacks the column {', '.join(sorted(needed - table[0].keys()))}")
    found = [(line["id"], _row(line)) for line in table]
    if as_json:
        click.echo(json.dumps([{"id": name, **_as_json(speed)} for name, speed in found], indent=1))
    else:
        click.echo("\n".join(f"{name}  {_line(speed)}" for name, speed in found))
    return 0


def _row(line: Mapping[str, str]) -> Speed:
    row = rows.read(line)
    if row.work is None:
        return predictor.declined(row.reason)
    if row.ram_mib:
        peak = memory.peak_mib(row.file_bytes, row.work.cache_bytes_per_token * row.work.context)
        if lacking := memory.shortfall(peak, memory.USABLE * row.ram_mib, row.device):
            return predictor.declined(lacking)
    chip = parameters.load().chips.get(row.device)
    if chip is None:
        return predictor.declined(f"nothing is known of a device named `{row.device}`")
    return predictor.speed(row.work, chip)


def _as_json(found: Speed) -> dict[str, Any]:
    return {
        "decode_tok_s": _ends(found.decode_tok_s),
        "prefill_tok_s": _ends(found.prefill_tok_s),
        "first_token_ms": _ends(found.first_token_ms),
        "naive_decode_tok_s": found.naive_decode_tok_s and round(found.naive_decode_tok_s, 4),
        "basis": found.basis or None,
        "reason": found.reason or None,
    }


def _ends(found: Estimate | None) -> dict[str, float] | None:
    return {name: float(f"{value:.5g}") for name, value in asdict(found).items()} if found else None


def _page(title: str, found: Speed, peak: Estimate, work: Work) -> list[str]:
    lines = [f"memory       {_range(peak)} MiB"]
    if found.reason:
        return [click.style(f"{title}: no speed", bold=True), *lines, f"reason       {found.reason}"]
    prompt = f", {work.prompt_tokens:,.0f} tokens"
    naive = found.naive_decode_tok_s
    return [
        click.style(f"{title}, predicted, with 80% intervals", bold=True),
        f"decode       {_range(found.decode_tok_s)} tok/s",
        f"prompt       {_range(found.prefill_tok_s)} tok/s",
        f"first token  {_range(found.first_token_ms)} ms{prompt}",
        *lines,
        f"by           {parameters.BASIS.get(found.basis, found.basis)}",
        f"naive rule   {f'{_number(naive)} tok/s, one read rate per chip' if naive else '-'}",
    ]


def _line(found: Speed) -> str:
    if found.reason:
        return f"no speed: {found.reason}"
    return f"decode {_range(found.decode_tok_s)} tok/s  prompt {_range(found.prefill_tok_s)} tok/s"


def _range(found: Estimate | None) -> str:
    return f"{_number(found.value)} ({_number(found.low)} to {_number(found.high)})" if found else "-"


def _number(value: float) -> str:
    """Four digits, or all of them: never an exponent."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
