"""Latency and memory of one candidate, measured in a fresh process: `python -m edgedistill.latency` reads a request as
JSON from stdin and prints the raw times.

A fresh process, because the one that validates holds torch's threads and memory. What others do on the machine is
measured too: two busy processes on two cores slow llama.cpp down 10 to 100 times, and a mean would hide it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgedistill.devices import exits
from edgedistill.engine import Messages, open_file
from edgedistill.statistics import percentile, spread
from edgedistill.toolchain import subprocesses

if TYPE_CHECKING:  # the process that measures starts without them
    from edgedistill.plan import Prediction
    from edgedistill.predictor.estimate import Estimate
    from edgedistill.transport import Device

WARM_UP = 3
"""Runs that are thrown away: the first ones pay for reading the file and for waking the threads."""
RUNS = 20
NEW_TOKENS = 32
PREFILL_TOKENS = 256
BUSY_CORES = 0.25
"""Others' load above which the machine counts as noisy."""
SPREAD = 0.25
"""Distance of the quartiles over the median, above which the machine counts as noisy."""
LIMIT_S = 1800.0

MIB = 1024 * 1024


@dataclass(frozen=True)
class Raw:
    """Every repeat, and the state of the machine."""

    first_token_ms: list[float]
    decode_tok_s: list[float]
    prefill_tok_s: list[float]
    prompt_tokens: list[int]
    peak_mib: float
    """Of the whole process."""
    python_mib: float
    """Of the process before the runtime came in: not there on a device."""
    others_before: float
    """Cores that other processes kept busy in the second before."""
    others_during: float


def measure(
    device: Device,
    file: Path,
    prompts: Sequence[Messages],
    *,
    context: int,
    threads: int | None,
    format_name: str = "gguf",
) -> Raw:
    """Run the benchmark on `local`, opened. `prompts` are taken in turn. Raises DeviceError when it fails."""
    how = {"format": format_name, "context": context, "threads": threads}
    request = {"file": str(file.resolve()), "prompts": list(prompts), **how}
    command = command_of("edgedistill.latency")
    done = device.run(command, timeout=LIMIT_S, input=json.dumps(request).encode())
    if done.code:
        raise exits.fault(device, command, done.code, done.err.decode(errors="replace"))
    return Raw(**json.loads(done.text))


def command_of(module: str) -> list[str]:
    """What runs a module of this package in a process of its own."""
    # The child must find this package even where it is not installed.
    own = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, (own, os.environ.get("PYTHONPATH"))))
    # -P: a file in the user's folder that is called like a library is not imported in its place.
    return ["env", f"PYTHONPATH={path}", sys.executable, "-P", "-m", module]


def memory_of(python_mib: float) -> str:
    """What the peak of a process is the memory of, whose Python had so much before the runtime came in."""
    return f"peak of a fresh process, {python_mib:.0f} MiB of it Python"


def measured_lines(raw: Raw, facts: dict[str, Any], threads: int | None) -> dict[str, Any]:
    """`latency` and `memory_mib` of the report's schema."""
    noise = noisy_because(raw)
    conditions = {
        **facts,
        "threads": threads or facts.get("cores"),
        "runs": len(raw.first_token_ms),
        "warm_up": WARM_UP,
        "prompt_tokens": round(percentile(raw.prompt_tokens, 0.5)),
        "new_tokens": NEW_TOKENS,
        "first_token_spread": round(spread(raw.first_token_ms), 3),
        "decode_spread": round(spread(raw.decode_tok_s), 3),
        "others_busy_cores_before": round(raw.others_before, 2),
        "others_busy_cores_during": round(raw.others_during, 2),
        "noisy": "; ".join(noise) or None,
        "memory": memory_of(raw.python_mib),
    }
    latency = {
        "first_token_ms": {f"p{p}": round(percentile(raw.first_token_ms, p / 100), 3) for p in (50, 90)},
        "decode_tok_s": {f"p{p}": round(percentile(raw.decode_tok_s, p / 100), 2) for p in (50, 10)},
        "prefill_tok_s": round(percentile(raw.prefill_tok_s, 0.5), 2),
        "evidence": "measured",
        "conditions": conditions,
    }
    return {"latency": latency, "memory_mib": {"peak": round(raw.peak_mib, 1), "evidence": "measured"}}


def predicted_lines(predicted: Prediction, prompt_tokens: int) -> dict[str, Any]:
    """The same from a prediction, each value with the ends of its 80% interval; no latency without the facts for it."""
    first, decode, prefill = predicted.first_token_ms, predicted.decode_tok_s, predicted.prefill_tok_s
    latency = None
    if first and decode and prefill:
        latency = {
            "first_token_ms": _with_interval("p50", first),
            "decode_tok_s": _with_interval("p50", decode),
            "prefill_tok_s": round(prefill.value, 3),
            "evidence": "predicted",
            "conditions": {
                "interval": "80%",
                "prompt_tokens": prompt_tokens,
                "prefill_low": round(prefill.low, 3),
                "prefill_high": round(prefill.high, 3),
                "basis": predicted.basis,
                "naive_decode_tok_s": predicted.naive_decode_tok_s and round(predicted.naive_decode_tok_s, 3),
            },
        }
    return {"latency": latency, "memory_mib": {**_with_interval("peak", predicted.memory_mib), "evidence": "predicted"}}


def _with_interval(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: round(estimate.value, 3), "low": round(estimate.low, 3), "high": round(estimate.high, 3)}


def noisy_because(raw: Raw) -> list[str]:
    """Why the figures are worse than those of a quiet machine; empty when it was quiet."""
    found = []
    for when, cores in (("before", raw.others_before), ("during", raw.others_during)):
        if cores > BUSY_CORES:
            found.append(f"other processes kept {cores:.1f} cores busy {when} the runs")
    for name, values in (("first token", raw.first_token_ms), ("decode", raw.decode_tok_s)):
        if spread(values) > SPREAD:
            found.append(f"repeats of {name} spread over {spread(values):.0%} of the median")
    return found


def main() -> None:
    """The measuring process. It ends with the build that started it."""
    subprocesses.end_with_parent()
    request = json.load(sys.stdin)
    print(json.dumps(asdict(_run(request))))


def _run(request: dict[str, Any]) -> Raw:
    others_before = _others_busy(lambda: time.sleep(1.0))[0]
    python_mib = peak_mib()
    how = {"context": request["context"], "threads": request["threads"]}
    with open_file(Path(request["file"]), request["format"], **how) as engine:
        others_during, runs = _others_busy(lambda: _repeat(engine, request))
    return Raw(
        **runs, peak_mib=peak_mib(), python_mib=python_mib, others_before=others_before, others_during=others_during
    )


def _repeat(engine: Any, request: dict[str, Any]) -> dict[str, list[Any]]:
    prompts = request["prompts"]
    sequences = engine.sequences(1, request["context"])
    first, decode, prefill, sizes = [], [], [], []
    ids = [token for messages in prompts for token in engine.token_ids(messages)]
    long = (ids * (PREFILL_TOKENS // len(ids) + 1))[: min(PREFILL_TOKENS, request["context"] - 1)]
    for number in range(WARM_UP + RUNS):
        sequences.rewind(0)
        begun = time.perf_counter()
        prompt = engine.token_ids(prompts[number % len(prompts)])
        token = int(sequences.feed([(0, prompt)])[0].argmax())
        seen = time.perf_counter()
        fed = min(NEW_TOKENS, request["context"] - len(prompt))
        for _ in range(fed):  # past the end of the answer too: every run decodes equally many
            token = int(sequences.feed([(0, [token])])[0].argmax())
        ended = time.perf_counter()
        sequences.rewind(0)
        sequences.feed([(0, long)])
        filled = time.perf_counter()
        if number >= WARM_UP:
            first.append(1000 * (seen - begun))
            decode.append(fed / (ended - seen))
            prefill.append(len(long) / (filled - ended))
            sizes.append(len(prompt))
    sequences.close()
    return {"first_token_ms": first, "decode_tok_s": decode, "prefill_tok_s": prefill, "prompt_tokens": sizes}


def _others_busy(work: Any) -> tuple[float, Any]:
    """Cores that other processes kept busy meanwhile, and what the work returned."""
    import psutil

    def busy() -> float:
        times = psutil.cpu_times()
        return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))

    def own() -> float:
        times = psutil.Process().cpu_times()
        return float(times.user + times.system)

    begun, busy_before, own_before = time.perf_counter(), busy(), own()
    result = work()
    took = time.perf_counter() - begun
    return max(0.0, (busy() - busy_before - (own() - own_before)) / took), result


def peak_mib() -> float:
    """VmHWM: the most memory that this process ever had in RAM."""
    status = Path("/proc/self/status")
    if status.is_file():
        for row in status.read_text().splitlines():
            if row.startswith("VmHWM:"):
                return int(row.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / MIB


if __name__ == "__main__":
    main()
