"""How near `edgedistill bench --device local` comes to llama-bench, and what it takes beside the measured requests.

    python tests/bench/bench_vs_llama_bench.py dist/quickstart-host [--rounds 5] [--threads N] [--tokens 128]

The bundle is one of a target of this machine: `edgedistill build --target host`. Both run the same file with the same
threads, decode as many tokens behind prompts of the same length, and take turns, so that whatever else the machine does
meets both. The last line of the table is the best of all rounds, which a busy machine disturbs least. Below it a whole
`--quick` benchmark by the clock on the wall.

llama-server hands every step to another thread and back, which llama-bench does not: tens of microseconds a token,
whatever the model. A model of a few megabytes shows them, one that takes 2 ms a token hardly does.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from edgedistill import bundle_manifest, golden, transport
from edgedistill import target as targets
from edgedistill.benchmark import llama
from edgedistill.benchmark.llama import Pushed
from edgedistill.benchmark.load import QUICK
from edgedistill.benchmark.run import benchmark
from edgedistill.files import read_json, read_rows
from edgedistill.statistics import percentile
from edgedistill.toolchain import runtime
from edgedistill.transport import Device

REQUESTS = 5
"""Of each side in one round."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="of a target of this machine, GGUF")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--tokens", type=int, default=128, help="written by each request")
    given = parser.parse_args()
    os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp()  # this run is no calibration
    by_turns(given.bundle, given.rounds, given.threads, given.tokens)
    by_the_wall(given.bundle, given.tokens)


def by_turns(bundle: Path, rounds: int, threads: int, tokens: int) -> None:
    """Decode speeds in tokens per second, medians of each round, and how much longer a token takes in the server."""
    manifest = bundle_manifest.open_bundle(bundle)
    manifest = manifest.model_copy(update={"target": manifest.target.model_copy(update={"threads": threads})})
    programs = runtime.install(targets.load("host"))
    ids = [case.token_ids for case in golden.from_rows(list(read_rows(bundle / "golden.jsonl")))]
    prompt = sorted(ids, key=len)[len(ids) // 2]
    context, sampling = len(prompt) + tokens + 16, read_json(bundle / "sampling.json")
    print(f"{manifest.name}, {manifest.chosen['quant']}, {threads} threads, {tokens} tokens behind {len(prompt)}\n")
    print(f"{'round':>6} {'bench':>10} {'llama-bench':>12} {'ratio':>7} {'us a token':>11}")
    rows = []
    with transport.open_device("local") as device:
        pushed = llama.push(device, bundle, manifest, programs)
        with llama.serving(device, pushed, context=context, threads=threads, sampling=sampling) as server:
            for _ in range(2):
                server.ask(prompt, tokens)
            for number in range(1, rounds + 1):
                own = sorted(1000 / server.ask(prompt, tokens).token_ms for _ in range(REQUESTS))
                other = sorted(_llama_bench(device, pushed, len(prompt), tokens, threads))
                rows.append((own, other))
                _print(str(number), percentile(own, 0.5), percentile(other, 0.5))
    _print("best", max(own[-1] for own, _ in rows), max(other[-1] for _, other in rows))
    print("goal: a ratio within 0.03 of 1\n")


def _print(name: str, own: float, other: float) -> None:
    print(f"{name:>6} {own:>10.2f} {other:>12.2f} {own / other:>7.3f} {1e6 / own - 1e6 / other:>11.0f}", flush=True)


def _llama_bench(device: Device, pushed: Pushed, depth: int, tokens: int, threads: int) -> list[float]:
    """Tokens per second of each repeat."""
    sizes = ["-p", "0", "-n", str(tokens), "-d", str(depth), "-r", str(REQUESTS), "-t", str(threads), "-o", "json"]
    done = device.run([pushed.bench, "-m", pushed.model, *sizes], timeout=600)
    (row,) = json.loads(done.text)
    return [float(speed) for speed in row["samples_ts"]]


def by_the_wall(bundle: Path, tokens: int) -> None:
    """Seconds of a whole quick benchmark, and of what in it are measured requests and llama-bench."""
    begun = time.monotonic()
    found = benchmark(bundle, "local", replace(QUICK, name="for a table"), anyway=True, new_tokens=tokens)
    whole = time.monotonic() - begun
    conditions = found.latency["conditions"]
    measured, peer = conditions["measured_s"], conditions["llama_bench_seconds"]
    print(f"whole benchmark {whole:.1f} s: requests {measured:.1f} s, llama-bench {peer:.1f} s, ", end="")
    print(f"everything else {whole - measured - peer:.1f} s; goal: at most 10 s")


if __name__ == "__main__":
    main()
