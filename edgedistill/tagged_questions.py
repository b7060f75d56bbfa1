"""Reading tagged questions back from what a teacher wrote.

The form is `<Question_4><input>…</input><target>…</target></Question_4>`. Real teachers number and spell the tags their
own way, forget to close them, wrap all in a Markdown fence or write `&lt;` for `<`. What can only mean one thing is
repaired and counted as such; a text that may have been cut off is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

# Every repetition is bounded, so that no text takes more than linear time.
_TAG = re.compile(r"< ?(?P<close>/?) ?(?P<name>question|input|target)(?![a-z])[^<>\n]{0,20}>", re.IGNORECASE)
_OUTER = re.compile(r"</?Question_\d+>")
_FORM = ("", "<input>", "</input>", "<target>", "</target>", "")
"""The tags of a whole block between its outer ones, as the prompt shows them."""
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&#39;", "'"), ("&amp;", "&"))
_NOTHING = ("", "...", "…")
"""What a teacher that repeats the form, and not a question, puts into it."""


@dataclass
class Parsed:
    """The questions of one text, and what had to be done for them."""

    pairs: list[tuple[str, str]] = field(default_factory=list)
    """(question, target), stripped, neither empty."""
    repaired: int = 0
    """How many of `pairs` were not in the form of the prompt."""
    malformed: int = 0
    """Blocks without a question, without a target, or cut off."""


def parse(text: str, *, has_entities: bool = False) -> Parsed:
    """The (question, target) pairs of a teacher's answer.

    has_entities   the task's own questions hold `&lt;` and the like, so in the answer they are meant as they stand
    """
    is_escaped = not has_entities and "&lt;" in text and not _TAG.search(text)
    if is_escaped:
        text = _unescaped(text)
    parsed = Parsed()
    for tags, end in _blocks(text):
        pair = _read(text, tags, end)
        if pair is None:
            parsed.malformed += 1
            continue
        plain = pair if has_entities else (_unescaped(pair[0]), _unescaped(pair[1]))
        parsed.pairs.append(plain)
        parsed.repaired += is_escaped or plain != pair or not _is_in_form(text, tags)
    return parsed


def _blocks(text: str) -> Iterator[tuple[list[re.Match[str]], int]]:
    """The tags of each question with the offset at which it ends: len(text) + 1 for one that nothing ends."""
    tags: list[re.Match[str]] = []
    opened: set[str] = set()
    for tag in _TAG.finditer(text):
        name, closes = tag["name"].lower(), bool(tag["close"])
        if tags and not closes and (name == "question" or (name == "input" and {"input", "target"} <= opened)):
            yield tags, tag.start()
            tags, opened = [], set()
        if tags or (not closes and name != "target"):  # what comes before the first question belongs to none
            tags.append(tag)
            opened |= set() if closes else {name}
        if tags and closes and name == "question":
            yield tags, tag.end()
            tags, opened = [], set()
    if tags:
        yield tags, len(text) + 1


def _read(text: str, tags: list[re.Match[str]], end: int) -> tuple[str, str] | None:
    """(question, target) of one block: what follows `<input>` and what follows `<target>`, up to the next tag."""
    opening = [(place, tag["name"].lower()) for place, tag in enumerate(tags) if not tag["close"]]
    inputs = [place for place, name in opening if name == "input"]
    targets = [place for place, name in opening if name == "target"]
    if len(inputs) != 1 or len(targets) != 1 or inputs > targets:
        return None  # none, or several, of which nobody knows the right one
    found = []
    for place in (inputs[0], targets[0]):
        until = tags[place + 1].start() if place + 1 < len(tags) else end
        if until > len(text):
            return None  # may be cut off
        found.append(text[tags[place].end() : until].strip())
    return None if found[0] in _NOTHING or found[1] in _NOTHING else (found[0], found[1])


def _is_in_form(text: str, tags: list[re.Match[str]]) -> bool:
    written = [tag.group() for tag in tags]
    if len(written) != len(_FORM) or tuple(written[1:-1]) != _FORM[1:-1]:
        return False
    between = [text[tag.end() : after.start()] for tag, after in pairwise(tags)]
    return all(map(_OUTER.fullmatch, (written[0], written[-1]))) and not "".join(between[::2]).strip()


def _unescaped(text: str) -> str:
    for entity, sign in _ENTITIES:
        text = text.replace(entity, sign)
    return text


def holds_entities(text: str) -> bool:
    """Whether a text has `&lt;` and the like."""
    return any(entity in text for entity, _ in _ENTITIES)
