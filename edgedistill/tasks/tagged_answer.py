"""Tasks whose answer is a short text: right is what equals the expected text, without regard to case."""

from __future__ import annotations

VERSION = 1


def is_right(given: str | None, expected: str) -> bool:
    """Whether the texts are equal, but for case and surrounding space."""
    return given is not None and given.strip().lower() == expected.strip().lower()


def details(given: list[str | None], expected: list[str]) -> dict[str, float]:
    """format_rate: share of answers with an `<ans>…</ans>`, 0-1."""
    return {"format_rate": sum(answer is not None for answer in given) / len(given)} if given else {}
