"""How fast `distill` trains the quickstart's student here: rows from the task's own items, one line of figures.

    python tests/bench/distill_speed.py [ROWS] [EPOCHS]         default 1500 rows, 3 epochs, batch 32

Run it on an idle machine; it says how busy the machine was.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from edgedistill import models, recipe, task
from edgedistill.methods import sft
from edgedistill.ml.turns import end_ids, load_tokenizer, turns
from edgedistill.prompts import plain_prompt


def main(count: int, epochs: int) -> None:
    made = recipe.load("quickstart")
    home = task.load(made.folder / made.tasks[0])
    student = models.resolve(made.student, made.folder, "student")
    items = home.validation
    rows = [
        (plain_prompt(home.info.description, item.question), f"action: as asked. <ans>{item.answer}</ans>")
        for item in (items[number % len(items)] for number in range(count))
    ]
    tokenizer = load_tokenizer(student.path)
    tokens = epochs * sum(len(turn) for turn in turns(tokenizer, end_ids(student.path, tokenizer), rows))
    busy = os.getloadavg()[0]
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as out:
        sft.train(Path(out), rows, student, sft.Config(epochs=epochs, batch=32, learning_rate=1.0e-3), 0)
    seconds = time.monotonic() - begun
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{count:,} rows x {epochs} epochs, {tokens / epochs / count:.0f} tokens a row: {seconds:.0f} s,"
        f" {tokens / seconds:,.0f} tokens/s, peak {peak_mib:,.0f} MiB (load before: {busy:.1f})"
    )


if __name__ == "__main__":
    given = [int(value) for value in sys.argv[1:]]
    main(*given, *(1500, 3)[len(given) :])
