"""Rebuild everything of the quickstart recipe from seeds alone: task files, tokenizer, base, student, teacher.

    python -m recipes.quickstart.make                # from a clone: all of it, under two hours on 2 CPU cores
    python -m recipes.quickstart.make tasks          # one part: tasks, tokenizer, base, student or teacher

Working files go to `build/quickstart`; what ships goes into the recipe's folder.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

# Rows of changing length make glibc map and unmap memory all the time; keeping it trains up to 4 times as fast.
KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
    "MALLOC_ARENA_MAX": "1",
}
RECIPE = Path(__file__).resolve().parents[1]
WORK = RECIPE.parents[1] / "build" / "quickstart"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
SHIPPED = ("config.json", "generation_config.json", "model.safetensors", *TOKENIZER)
PARTS = ("tasks", "tokenizer", "base", "student", "teacher")


def main(parts: list[str]) -> None:
    """Make the named parts, in order."""
    from . import tasks

    for part in parts or PARTS:
        if part == "tasks":
            tasks.write(RECIPE)
            continue
        from . import train

        if part == "tokenizer":
            train.train_tokenizer(WORK / "tokenizer")
            train.check_tokenizer(WORK / "tokenizer")
            continue
        plans = {plan.name: plan for plan in train.PLANS}
        if part not in plans:
            sys.exit(f"error: no part named `{part}`; there are: {', '.join(PARTS)}")
        _copy(TOKENIZER, WORK / "tokenizer", WORK / part)
        train.train(plans[part], WORK, tasks.kept_questions(), log=lambda line: print(line, flush=True))
        if part != "base":
            _copy(SHIPPED, WORK / part, RECIPE / "models" / part)


def _copy(names: tuple[str, ...], source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(source / name, target / name)


if __name__ == "__main__":
    if any(os.environ.get(key) != value for key, value in KEEP_MEMORY.items()):
        os.execve(sys.executable, sys.orig_argv, os.environ | KEEP_MEMORY)
    main(sys.argv[1:])
