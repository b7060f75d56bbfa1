"""How near `edgedistill bench --device local` comes to llama-bench, and what it takes beside the measured requests.

    python tests/bench/bench_vs_llama_bench.py dist/quickstart-host [--rounds 5] [--threads N] [--tokens 128]

The bundle is one of a target of this machine (`edgedistill build --target host`); a copy of it is used. Both run the
same file with the same threads, and decode as many tokens behind a prompt of the same length: llama-server with the
bundle's own context, llama-bench with as much as it takes. They take turns, who is first changes from round to round,
so whatever else the machine does meets both. What counts is the median of the rounds' ratios, with their range.

Below it the whole command `edgedistill bench --quick`, grading, report and all, by the clock on the wall, with answers
of the bundle's own length.

llama-server hands every step to another thread and back, which llama-bench does not: tens of microseconds a token,
whatever the model. A model of a few megabytes shows them, one that takes 2 ms a token hardly does.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgedistill import bundle_manifest, golden, transport
from edgedistill import target as targets
from edgedistill.benchmark import llama
from edgedistill.benchmark.llama import Pushed
from edgedistill.benchmark.setup import CONTEXT
from edgedistill.commands import bench
from edgedistill.files import read_json, read_rows
from edgedistill.statistics import percentile
from edgedistill.toolchain import runtime
from edgedistill.transport import Device

REQUESTS = 5
"""Of each side in one round."""
GOAL, GOAL_S = 0.03, 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="of a target of this machine, GGUF")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--tokens", type=int, default=128, help="written by each request of the comparison")
    given = parser.parse_args()
    with copy_of(given.bundle) as bundle:
        by_turns(bundle, given.rounds, given.threads, given.tokens)
        by_the_wall(bundle)


@contextmanager
def copy_of(bundle: Path) -> Iterator[Path]:
    """The bundle's own figures and journal stay as they are, and this run is no calibration."""
    with tempfile.TemporaryDirectory(dir=bundle.resolve().parent, prefix=".bench-") as folder:
        os.environ["XDG_DATA_HOME"] = f"{folder}/data"
        yield Path(shutil.copytree(bundle, Path(folder, bundle.resolve().name), copy_function=_linked_if_large))


def _linked_if_large(source: str, goal: str) -> str:
    """Nobody writes to a model."""
    (os.link if source.endswith(".gguf") else shutil.copy2)(source, goal)
    return goal


def by_turns(bundle: Path, rounds: int, threads: int, tokens: int) -> None:
    """Decode speeds in tokens per second, medians of each round, and how much longer a token takes in the server."""
    manifest = bundle_manifest.open_bundle(bundle)
    programs = runtime.install(targets.load("host"))
    context = int(manifest.conditions.get("context") or CONTEXT)
    ids = [case.token_ids for case in golden.from_rows(list(read_rows(bundle / "golden.jsonl")))]
    fitting = sorted((row for row in ids if len(row) + tokens < context), key=len)
    prompt = fitting[len(fitting) // 2]
    print(f"{manifest.name}, {manifest.chosen['quant']}, {threads} threads, context {context}, ", end="")
    print(f"{tokens} tokens behind {len(prompt)}\n")
    print(f"{'round':>6} {'bench':>10} {'llama-bench':>12} {'ratio':>7} {'us a token':>11}")
    ratios = []
    with transport.open_device("local") as device:
        pushed = llama.push(device, bundle, manifest, programs)
        sampling = read_json(bundle / "sampling.json")
        with llama.serving(device, pushed, context=context, threads=threads, sampling=sampling) as server:
            for _ in range(2):
                server.ask(prompt, tokens)
            for number in range(1, rounds + 1):
                sides = {
                    "own": lambda: [1000 / server.ask(prompt, tokens).token_ms for _ in range(REQUESTS)],
                    "other": lambda: _llama_bench(device, pushed, len(prompt), tokens, threads),
                }
                speeds = {side: percentile(sides[side](), 0.5) for side in sorted(sides, reverse=bool(number % 2))}
                own, other = speeds["own"], speeds["other"]
                ratios.append(own / other)
                print(
                    f"{number:>6} {own:>10.2f} {other:>12.2f} {ratios[-1]:>7.3f} {1e6 / own - 1e6 / other:>11.0f}",
                    flush=True,
                )
    found = percentile(ratios, 0.5)
    print(
        f"\nbench / llama-bench: {found:.3f}, median of {rounds} rounds, {min(ratios):.3f} to {max(ratios):.3f}; ",
        end="",
    )
    print(f"goal: within {GOAL} of 1, {'met' if abs(found - 1) <= GOAL else 'missed'}\n")


def _llama_bench(device: Device, pushed: Pushed, depth: int, tokens: int, threads: int) -> list[float]:
    """Tokens per second of each repeat."""
    sizes = ["-p", "0", "-n", str(tokens), "-d", str(depth), "-r", str(REQUESTS), "-t", str(threads), "-o", "json"]
    done = device.run([pushed.bench, "-m", pushed.model, *sizes], timeout=600)
    (row,) = json.loads(done.text)
    return [float(speed) for speed in row["samples_ts"]]


def by_the_wall(bundle: Path) -> None:
    """Seconds of the whole command, and of what in it are measured requests and llama-bench."""
    begun = time.monotonic()
    report, _ = bench.measured(bundle, "local", quick=True, keep=False, anyway=True)
    whole = time.monotonic() - begun
    (line,) = (one for one in report.candidates if one.chosen)
    assert line.latency
    conditions = line.latency.conditions
    measured, peer = conditions["measured_s"], conditions.get("llama_bench_seconds") or 0.0
    rest = whole - measured
    print(
        f"edgedistill bench --quick: {whole:.1f} s, of it requests {measured:.1f} s; everything else {rest:.1f} s, ",
        end="",
    )
    print(f"of it llama-bench {peer:.1f} s")
    for name, seconds in (("everything else", rest), ("without llama-bench", rest - peer)):
        print(f"  {name}: {seconds:.1f} s; goal: at most {GOAL_S:.0f} s, {'met' if seconds <= GOAL_S else 'missed'}")


if __name__ == "__main__":
    main()
