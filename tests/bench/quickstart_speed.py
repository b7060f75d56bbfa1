"""Speed and memory of the quickstart: first build, cached build, second target, `--help`. Prints a table.

    python tests/bench/quickstart_speed.py [FOLDER]

Run it on an idle machine. FOLDER (default: a new temporary one) receives runs/ and dist/. Peak memory is sampled every
50 ms as the sum of the proportional set sizes of the build's processes, and set against the stage that was running.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

MIB = 1024 * 1024


def main(folder: Path) -> None:
    load = psutil.getloadavg()[0]
    first, peaks = timed_build("rpi5", folder)
    rows = [("build, everything to do", f"{first:.1f} s", "<= 360 s")]
    rows.append(("build, everything cached", f"{timed_build('rpi5', folder)[0]:.2f} s", "<= 2 s"))
    rows.append(("second target (host)", f"{timed_build('host', folder)[0]:.1f} s", "<= 60 s"))
    rows.append(("--help / bare python", f"{help_ratio():.1f} x", "<= 10 x"))
    rows += [(f"peak memory, {stage}", f"{peak / MIB:,.0f} MiB", "<= 3,072 MiB") for stage, peak in peaks.items()]
    print(f"{psutil.cpu_count()} cores, load before {load:.2f}\n")
    for name, value, limit in rows:
        print(f"{name:28}{value:>12}   {limit}")


def timed_build(target: str, folder: Path) -> tuple[float, dict[str, int]]:
    """Seconds, and the peak memory in bytes of each stage."""
    given = ["--target", target, "--runs", str(folder / "runs"), "--dist", str(folder / "dist")]
    begun, peak, peaks = time.monotonic(), [0], {}
    build = subprocess.Popen([sys.executable, "-m", "edgedistill", "build", *given], stderr=subprocess.PIPE, text=True)

    def follow() -> None:
        assert build.stderr is not None
        for line in build.stderr:
            print(line, end="", file=sys.stderr)
            if ended := re.match(r"(\w+) +\S.*  [0-9a-f]{8}  ", line):  # the line of a stage comes when it is done
                peaks[ended.group(1)], peak[0] = peak[0], 0

    reader = threading.Thread(target=follow)
    reader.start()
    while build.poll() is None:
        peak[0] = max(peak[0], _memory(build.pid))
        time.sleep(0.05)
    reader.join()
    assert build.returncode in (0, 1), f"the build ended with {build.returncode}"
    return time.monotonic() - begun, peaks


def _memory(pid: int) -> int:
    """Of a process and all its children, bytes; shared pages counted once."""
    total = 0
    try:
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            total += one.memory_full_info().pss
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        pass  # ended while we looked
    return total


def help_ratio(repeats: int = 15) -> float:
    """Median of the paired ratios."""
    ratios = []
    for _ in range(repeats):
        help_s = _seconds([sys.executable, "-m", "edgedistill", "--help"])
        ratios.append(help_s / _seconds([sys.executable, "-c", "pass"]))
    return statistics.median(ratios)


def _seconds(command: list[str]) -> float:
    begun = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begun


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="quickstart-")))
