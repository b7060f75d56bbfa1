"""The files of each task: seeds, validation, test, and for `home` the answer grammar. Same seed, same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TypeVar

from . import families, home
from .documents import STYLE_NAMES

Row = dict[str, str]
T = TypeVar("T")


def home_rows(split: str) -> list[Row]:
    """The `home` items of one split: 12 seeds, 240 for validation, 315 for the test."""
    count = {"seeds": 12, "validation": 240, "test": 315}[split]
    rng = Random(f"home/{split}")
    grammar = home.Grammar(is_test=split == "test")
    taken = {row["question"] for earlier in _EARLIER[split] for row in home_rows(earlier)}
    order = list(home.INTENTS)
    rows: list[Row] = []
    while len(rows) < count:
        if len(rows) % len(order) == 0:
            rng.shuffle(order)
        command = _unseen(lambda: grammar.draw(rng, order[len(rows) % len(order)]), lambda c: c.text, taken)
        row = {"id": f"home-{split}-{len(rows) + 1:03}", "question": command.text, "answer": command.answer}
        if split == "seeds":
            row["rationale"] = home.rationale(command, "procedure")
        rows.append(row)
    return rows


def family_rows(family: families.Family, split: str) -> list[Row]:
    """The items of one family and split: 12 seeds, 100 for validation, 100 for the test."""
    count = {"seeds": 12, "validation": 100, "test": 100}[split]
    rng = Random(f"{family.name}/{split}")
    taken = {row["question"] for earlier in _EARLIER[split] for row in family_rows(family, earlier)}
    rows: list[Row] = []
    while len(rows) < count:
        item = _unseen(lambda: family.draw(rng), lambda i: i.question, taken)
        row = {"id": f"{family.name}-{split}-{len(rows) + 1:03}", "question": item.question, "answer": item.answer}
        if split == "seeds":
            row["rationale"] = families.rationale(family, item, STYLE_NAMES[0])
        rows.append(row)
    return rows


_EARLIER: dict[str, tuple[str, ...]] = {"seeds": (), "validation": ("seeds",), "test": ("seeds", "validation")}


def _unseen(draw: Callable[[], T], text: Callable[[T], str], taken: set[str]) -> T:
    """Draw until the text is new, and note it."""
    while True:
        drawn = draw()
        if text(drawn) not in taken:
            taken.add(text(drawn))
            return drawn


def kept_questions() -> frozenset[str]:
    """Every question of every validation and test file: what no training document may contain."""
    rows = [row for split in ("validation", "test") for row in home_rows(split)]
    rows += [
        row for family in families.FAMILIES for split in ("validation", "test") for row in family_rows(family, split)
    ]
    return frozenset(row["question"] for row in rows)


def contents() -> dict[str, str]:
    """Every task file: path below the recipe folder -> text."""
    files = {f"home/{split}.jsonl": _lines(home_rows(split)) for split in _EARLIER}
    files["home/answer.gbnf"] = home.grammar_gbnf()
    for family in families.FAMILIES:
        files |= {f"families/{family.name}/{split}.jsonl": _lines(family_rows(family, split)) for split in _EARLIER}
    return files


def write(recipe: Path) -> None:
    """Write the task files into the recipe folder."""
    for name, text in contents().items():
        path = recipe / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _lines(rows: list[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
