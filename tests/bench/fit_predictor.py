"""Fit the predictor, and tell how far it is off where whole sources are left out.

    python tests/bench/fit_predictor.py ../shared/devices/measurements.csv            prints the tables
    python tests/bench/fit_predictor.py ../shared/devices/measurements.csv --write    and writes parameters.json

Source = the repository's owner (a page or thread, for ggml-org, where everybody writes): stricter than the page, since
one person's boards and habits are the same on all of his pages. Each source is left out once, everything else is
fitted (from the factors of all as a start), and its rows are predicted. Widths of intervals are taken from the errors
of the other sources, whose own fits had seen it; a nested fit would be stricter.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

import predictor_fit
from predictor_chips import ALIASES, others
from predictor_fit import DECODE, PROMPT, Measured, Spreads

from edgedistill import target, yaml_file
from edgedistill.files import sha256_of, write_json
from edgedistill.predictor import chips, formula, parameters, rows
from edgedistill.predictor.chips import Chip
from edgedistill.predictor.formula import Time
from edgedistill.predictor.parameters import Parameters, Speeds
from edgedistill.predictor.work import Work

UNUSABLE = re.compile(
    r"suspect|inconsistent|garbage|unclear|paging|no fan|no vector unit|partly on CPU|clock fell|80-85 C|swap|"
    r"before tuning|BF16 on a core",
    re.IGNORECASE,
)
"""Notes that say that the device was throttled or paging, or that the figure is doubtful."""
OUTLIERS = {"rk3566-34-01": "five times below the same chip elsewhere"}
CAPPED = 20
"""Rows of one source that count in full for the width of intervals; more of them share that weight."""
LEVEL = 0.8
DRAWS = 25
"""Random choices of the row that calibrates."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("measurements", type=Path)
    options.add_argument("--write", action="store_true", help="write edgedistill/predictor/parameters.json")
    chosen = options.parse_args()
    known = all_chips()
    table = list(csv.DictReader(chosen.measurements.open(encoding="utf-8", newline="")))
    found = {}
    for what, time, spreads in (("decode", formula.decode, DECODE), ("prompt", formula.prompt, PROMPT)):
        used = measured(table, known, f"{'decode' if what == 'decode' else 'prefill'}_tok_s")
        outcome = left_out([row for row in used if row.is_dense], time, spreads)
        found[what] = finished(used, outcome, time, spreads)
        print(f"\n{what}\n" + "\n".join(lines(what, outcome)))
    if chosen.write:
        write(known, found, chosen.measurements, table)


def all_chips() -> dict[str, Chip]:
    """Of the shipped targets, and the others."""
    shipped = [chips.of_target(target.load(name)) for name in yaml_file.names("targets")]
    by_name = {chip.name: chip for chip in shipped if chip}
    return {**others(), **by_name}


def measured(table: Iterable[dict[str, str]], known: dict[str, Chip], column: str) -> list[Measured]:
    """Usable rows with a figure in that column."""
    used = []
    for line in table:
        row = rows.read(line)
        chip = known.get(ALIASES.get(row.device, row.device))
        is_usable = not UNUSABLE.search(line["source_note"]) and row.id not in OUTLIERS
        if not (row.work and chip and line[column] and is_usable):
            continue
        used.append(
            Measured(
                row.id,
                source_of(line["source_url"]),
                chip,
                row.work,
                1 / float(line[column]),
                row.is_dense,
                is_deployment(row.work, chip),
            )
        )
    return used


def source_of(address: str) -> str:
    found = re.match(r"https://github.com/([^/]+)/", address)
    return found[1] if found and found[1] != "ggml-org" else address


def is_deployment(work: Work, chip: Chip) -> bool:
    return (
        work.backend == "cpu"
        and work.runtime in formula.LLAMA
        and work.built >= formula.OLD
        and (work.threads or chip.cores) == chip.cores
        and re.match(r"Q[4-8]|IQ4", work.quant) is not None
    )


@dataclass(frozen=True)
class Outcome:
    """A row of a source that was left out."""

    row: Measured
    standing: str
    off: float
    """log(predicted time / measured time)"""
    naive: float | None
    """The same for one read rate per chip; None where no other source measured that chip."""
    half: float = math.inf
    """Half of the interval, natural logarithm."""

    @property
    def error(self) -> float:
        return abs(math.exp(-self.off) - 1)


Clock = Callable[[Work, Chip], Time]


def left_out(used: Sequence[Measured], time: Clock, spreads: Spreads) -> list[Outcome]:
    """Every row, predicted without its source."""
    whole = predictor_fit.fit(used, time, spreads)
    found: list[Outcome] = []
    for source in sorted({row.source for row in used}):
        rest = [row for row in used if row.source != source]
        factors = predictor_fit.fit(rest, time, spreads, whole)
        plain = naive_rates(rest, time)
        for row in (row for row in used if row.source == source):
            off = math.log(time(row.work, row.chip).seconds(factors) / row.seconds)
            rate = plain.get((row.chip.name, row.work.backend))
            by_rule = math.log(size(row.work, time) / rate / row.seconds) if rate else None
            found.append(Outcome(row, standing_in(factors, time)(row), off, by_rule))
    widths = {s: half_widths([o for o in found if o.row.source != s]) for s in {o.row.source for o in found}}
    return [replace(o, half=widths[o.row.source].get(o.standing, math.inf)) for o in found]


def standing_in(factors: dict[str, float], time: Clock) -> Callable[[Measured], str]:
    """How well the chip of a row is known to these factors, in the predictor's own words."""
    speeds = Speeds(factors, {}, 1.0)
    known = Parameters(speeds, speeds, {}, {})
    return lambda row: known.standing(row.chip, row.work, is_prompt=time is formula.prompt)


def size(work: Work, time: Clock) -> float:
    """What the naive rule divides: bytes of a decoded token, operations of a prompt's token."""
    return work.read_bytes if time is formula.decode else 2 * work.body_weights


def naive_rates(used: Iterable[Measured], time: Clock) -> dict[tuple[str, str], float]:
    """Chip and backend -> median rate."""
    rates = defaultdict(list)
    for row in used:
        rates[row.chip.name, row.work.backend].append(size(row.work, time) / row.seconds)
    return {key: median(values) for key, values in rates.items()}


def half_widths(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Standing -> the distance that 80% of the rows keep; rows of a large source share the weight of 20."""
    counts = defaultdict(int)
    for o in outcomes:
        counts[o.row.source, o.standing] += 1
    found = {}
    for kind in {o.standing for o in outcomes}:
        weighted = sorted(
            (abs(o.off), min(1.0, CAPPED / counts[o.row.source, kind])) for o in outcomes if o.standing == kind
        )
        total, sofar = sum(weight for _, weight in weighted), 0.0
        for distance, weight in weighted:
            sofar += weight
            if sofar >= LEVEL * total:
                found[kind] = distance
                break
    return found


def calibrated(outcomes: Sequence[Outcome], share: float, most: int = 1000) -> list[float]:
    """Distances of the other rows of a source and chip, at most so many, after one random row of theirs was given."""
    places = defaultdict(list)
    for o in outcomes:
        places[o.row.place].append(o.off)
    chance, found = random.Random(5), []
    for offs in places.values():
        for _ in range(DRAWS if len(offs) > 1 else 0):
            given = chance.randrange(len(offs))
            after = [off - share * offs[given] for at, off in enumerate(offs) if at != given]
            found += chance.sample(after, min(most, len(after)))
    return found


def best_share(outcomes: Sequence[Outcome]) -> float:
    return min((s / 20 for s in range(10, 21)), key=lambda s: median(abs(d) for d in calibrated(outcomes, s)))


def finished(used: Sequence[Measured], outcomes: Sequence[Outcome], time: Clock, spreads: Spreads) -> Speeds:
    """What ships: fitted to all sources."""
    factors = predictor_fit.fit([row for row in used if row.is_dense], time, spreads)
    share = best_share(outcomes)
    widths = half_widths(outcomes)
    for kind in list(widths):
        after = sorted(abs(d) for d in calibrated([o for o in outcomes if o.standing == kind], share, CAPPED))
        # Rows of one source may differ in runtime and threads, a user's runs do not: never wider than without the run.
        widths[f"{kind}, calibrated"] = min(widths[kind], after[int(LEVEL * len(after))] if after else math.inf)
    shown = {name: float(f"{value:.4g}") for name, value in sorted(factors.items())}
    return Speeds(shown, {name: round(half, 3) for name, half in sorted(widths.items())}, share)


GROUPS: list[tuple[str, Callable[[Outcome], bool]]] = [
    ("llama.cpp CPU, 2025 or newer, 4-8 bit, all big cores", lambda o: o.row.is_deployment),
    ("... with the file size given", lambda o: o.row.is_deployment and o.row.work.is_size_known),
    ("all rows", lambda o: True),
    ("... with the file size given", lambda o: o.row.work.is_size_known),
    ("boards, CPU", lambda o: o.row.work.backend == "cpu" and o.row.chip.kind == "board"),
    ("phones, CPU", lambda o: o.row.work.backend == "cpu" and o.row.chip.kind == "phone"),
    ("x86, CPU", lambda o: o.row.work.backend == "cpu" and o.row.chip.kind == "x86"),
    ("Macs, CPU", lambda o: o.row.work.backend == "cpu" and o.row.chip.kind == "mac"),
    ("GPUs", lambda o: o.row.work.backend == "gpu"),
    ("NPUs", lambda o: o.row.work.backend == "npu"),
]


def lines(what: str, outcomes: Sequence[Outcome]) -> list[str]:
    """Markdown tables, for targets/README.md."""
    share = best_share(outcomes)
    found = []
    seen = [o for o in outcomes if o.standing.startswith("measured")]
    unseen = [o for o in outcomes if not o.standing.startswith("measured")]
    for title, some in (("device measured by others too", seen), ("device that nobody else measured", unseen)):
        columns = ("rows", "median", "mean", "in 80% interval", "one rate per device", "after one run")
        found += ["", f"| {what}, {title} | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
        found += [
            line(name, [o for o in some if belongs(o)], share) for name, belongs in GROUPS if any(map(belongs, some))
        ]
    return [*found, "", line("everything together", outcomes, share)]


def line(name: str, some: Sequence[Outcome], share: float) -> str:
    errors = [o.error for o in some]
    inside = fmean(abs(o.off) <= o.half for o in some)
    naive = [abs(math.exp(-o.naive) - 1) for o in some if o.naive is not None]
    after = [abs(math.exp(-d) - 1) for d in calibrated(some, share)]
    cells = (f"{median(errors):.1%}", f"{fmean(errors):.1%}", f"{inside:.0%}", f"{median(naive):.1%}" if naive else "-",
             f"{median(after):.1%}" if after else "-")  # fmt: skip
    return f"| {name} | {len(some)} | " + " | ".join(cells) + " |"


def write(known: dict[str, Chip], found: dict[str, Speeds], path: Path, table: Sequence[dict[str, str]]) -> None:
    used = measured(table, known, "decode_tok_s")
    rates = naive_rates([row for row in used if row.is_dense], formula.decode)
    provenance = {
        "made_by": "tests/bench/fit_predictor.py",
        "measurements": {"rows": len(table), "sha256": sha256_of(path), "fitted": len(used)},
        "sources": sorted({line["source_url"] for line in table}),
        "naive_gb_s": {"/".join(key): round(rate / 1e9, 3) for key, rate in sorted(rates.items())},
    }
    facts = {
        name: {k: v for k, v in asdict(chip).items() if k != "name" and v is not None}
        for name, chip in sorted(known.items())
    }
    raw = {"provenance": provenance, **{what: asdict(speeds) for what, speeds in found.items()}, "chips": facts,
           "aliases": ALIASES}  # fmt: skip
    parsed: Parameters = parameters.parse(json.loads(json.dumps(raw)))
    print(f"\n{len(parsed.decode.factors) + len(parsed.prompt.factors)} factors: {write_json(parameters.PATH, raw)}")


if __name__ == "__main__":
    main()
