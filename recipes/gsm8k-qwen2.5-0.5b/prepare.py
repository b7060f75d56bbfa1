"""Write the task's three files from the two that GSM8K publishes (train.jsonl and test.jsonl, plain or .gz).

    python prepare.py TRAIN TEST

12 seeds and 300 validation items are drawn from the training file, by a fixed seed; every test item is kept. The
calculator marks `<<…>>` are taken out of the solutions, and the answer after `####` goes into `<ans></ans>`.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path
from random import Random

SEEDS, VALIDATION = 12, 300
TASK = Path(__file__).resolve().parent / "gsm8k"


def main(train: Path, test: Path, task: Path = TASK) -> None:
    """Write seeds.jsonl, validation.jsonl and test.jsonl into the task's folder."""
    drawn = Random("gsm8k").sample(read(train, "train"), SEEDS + VALIDATION)
    write(task / "seeds.jsonl", drawn[:SEEDS])
    for name, rows in (("validation", drawn[SEEDS:]), ("test", read(test, "test"))):
        write(task / f"{name}.jsonl", [{key: row[key] for key in ("id", "question", "answer")} for row in rows])


def read(path: Path, part: str) -> list[dict[str, str]]:
    """The items of a published file: id, question, answer, rationale."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    return [item(f"{part}-{number:05}", json.loads(line)) for number, line in enumerate(text.splitlines(), start=1)]


def item(name: str, row: dict[str, str]) -> dict[str, str]:
    steps, marks, answer = row["answer"].rpartition("####")
    if not marks:
        raise SystemExit(f"error: item {name} has no `####` before its answer; is this a file of GSM8K?")
    answer = answer.strip().replace(",", "")
    rationale = " ".join(re.sub(r"<<.*?>>", "", steps).split()) + f" <ans>{answer}</ans>"
    return {"id": name, "question": row["question"], "answer": answer, "rationale": rationale}


def write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python prepare.py TRAIN.jsonl TEST.jsonl")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
