"""Tasks whose answer is a number: right is what equals it, be it written `1,234.00`, `$1234` or `1234 apples`."""

from __future__ import annotations

import re
from decimal import Decimal

VERSION = 1

# A minus counts where it stands alone, not in `10-4`; commas count as thousands in groups of three, not in `1,2`.
_NUMBER = re.compile(r"(?<![\w.])(-?)[$€£]?((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?!\d)")
_LONGEST = 10_000
"""Characters of an answer that are looked at, from its end."""


def is_right(given: str | None, expected: str) -> bool:
    """Whether the last numbers of both texts are equal. Units, currency, thousands and trailing zeros do not matter."""
    wanted, found = last_number(expected), last_number(given or "")
    return wanted is not None and wanted == found


def details(given: list[str | None], expected: list[str]) -> dict[str, float]:
    """format_rate: share of answers with a number in `<ans>…</ans>`, 0-1."""
    return {"format_rate": sum(last_number(text or "") is not None for text in given) / len(given)} if given else {}


def last_number(text: str) -> Decimal | None:
    """The last number of a text, e.g. 18 of a solution that ends in `#### 18`; None when it has none."""
    found = _NUMBER.findall(text[-_LONGEST:].replace("\u2212", "-"))
    if not found:
        return None
    sign, digits = found[-1]
    return Decimal(sign + digits.replace(",", ""))
