"""The `home` task: spoken command in, one JSON action out. Every sentence here is made by a grammar, from a seed.

A command is drawn in four steps: a template of `phrases.TEMPLATES`, its alternatives, its slot values, and then the
wear and tear of speech (politeness, hesitations, typing slips). Training and test share neither templates nor, for
lists long enough to divide, slot values.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from random import Random

from .phrases import GLOSS, TEMPLATES, VALUES

NAME = "home"
DESCRIPTION = "Turn the command into a JSON action."

INTENTS = tuple(TEMPLATES)
# Filled from a list, but no part of the answer: the real annotation names the list, not the thing that is put on it.
UNLABELED = {"item"}

# Names without end: training fills them now and then with words from anywhere, so that they are copied, not known.
_OPEN = {"song_name", "artist_name", "playlist_name", "list_name", "place_name", "event_name", "person", "item"}

# Never odd: the device alone tells a plug from a lamp or a coffee machine.
_TELLING = {"device_type"}

PART = re.compile(r"\{(\w+)(?::(\w+))?\}")
_HOURS = "one two three four five six seven eight nine ten eleven twelve".split()
_MINUTES = ("fifteen", "thirty", "forty five", "twenty", "ten")
_POLITE = (
    "please",
    "can you",
    "could you",
    "can you please",
    "would you",
    "could you please",
    "i want you to",
    "i need you to",
    "will you",
    "hey can you",
    "i'd like you to",
    "just",
    "go ahead and",
    "kindly",
)
_CALLS = ("hey", "ok", "olly", "hey olly", "hello", "olly please", "hi")
_FILLERS = ("um", "uh", "er", "well", "so", "hmm")


@dataclass(frozen=True)
class Template:
    """One line of the grammar. `number` counts the lines of its intent, so that a share of them can be picked."""

    intent: str
    text: str
    is_order: bool
    is_test: bool
    number: int


@dataclass(frozen=True)
class Command:
    """An utterance with its meaning: intent and (slot, value) pairs in the order of the utterance."""

    text: str
    intent: str
    slots: tuple[tuple[str, str], ...]

    @property
    def answer(self) -> str:
        """The JSON action, intent first."""
        return json.dumps({"intent": self.intent, **dict(self.slots)}, ensure_ascii=False)


def templates() -> list[Template]:
    """Every template of the grammar."""
    return list(_parse_templates())


def _parse_templates() -> Iterator[Template]:
    for intent, block in TEMPLATES.items():
        for number, line in enumerate(block.strip().splitlines()):
            text = line.lstrip("*~").strip()
            yield Template(intent, text, is_order="~" not in line[:2], is_test=line[0] == "*", number=number)


def values(kind: str) -> list[str]:
    """All values of a slot or kind; clock times are computed."""
    if kind == "time":
        plain = [f"{hour} {half}" for hour in _HOURS for half in ("am", "pm")]
        exact = [
            f"{hour} {minute} {half}".strip() for hour in _HOURS for minute in _MINUTES for half in ("am", "pm", "")
        ]
        loose = [f"{how} {hour}" for how in ("half past", "quarter to", "quarter past", "ten past") for hour in _HOURS]
        return plain * 4 + _HOURS + [f"{hour} o'clock" for hour in _HOURS] + exact + loose + ["noon", "midnight"] * 3
    return [value.strip() for value in VALUES[kind].split(",")]


@cache
def test_values() -> frozenset[str]:
    """The slot values that only the test uses: a fifth of every list of 12 or more. Shorter lists serve both sides."""
    kept = {value for kind in VALUES if len(values(kind)) < 12 for value in values(kind)}
    listed = {value for kind in VALUES for value in values(kind)[3::5]}
    clock = {value for value in values("time") if zlib.crc32(value.encode()) % 5 == 0}
    return frozenset((listed | clock) - kept)


def split_values(kind: str, is_test: bool) -> list[str]:
    """The values of one side of the split."""
    every = values(kind)
    return every if len(every) < 12 else [value for value in every if (value in test_values()) == is_test]


@cache
def known_words(made_up: int = 600) -> list[str]:
    """The words of all training values, and some that are made up of syllables."""
    words = {word for kind in VALUES for value in split_values(kind, False) for word in value.split()}
    rng = Random("made-up words")
    letters = ("b c d f g h j k l m n p r s t v w z ch sh st br tr gr pl".split(), "a e i o u ai ee oo ou".split())
    made = {"".join(rng.choice(letters[n % 2]) for n in range(rng.randint(3, 6))) for _ in range(made_up)}
    return sorted(words | made)


class Grammar:
    """Draws commands. `share` keeps only some of the templates: template numbers modulo 10 below 10 * share.

    `odd_values` is how often a slot of any kind holds words from anywhere: what can stand there must be read off the
    sentence then, and cannot be known.
    """

    def __init__(
        self,
        is_test: bool = False,
        share: float = 1.0,
        intents: tuple[str, ...] = INTENTS,
        odd_values: float = 0.0,
    ) -> None:
        self.is_test = is_test
        self.odd_values = odd_values
        self.intents = intents
        self._by_intent: dict[str, list[Template]] = {intent: [] for intent in intents}
        for template in templates():
            if template.intent in self._by_intent and template.is_test == is_test and template.number % 10 < 10 * share:
                self._by_intent[template.intent].append(template)
        kinds = {match[2] or match[1] for t in templates() for match in PART.finditer(t.text)}
        self._values = {kind: split_values(kind, is_test) for kind in sorted(kinds)}
        self._words = known_words(2000) if odd_values else known_words()

    def draw(self, rng: Random, intent: str | None = None) -> Command:
        """One command, of the given intent or of any."""
        template = rng.choice(self._by_intent[intent or rng.choice(self.intents)])
        return self._spoken(template, rng)

    def _spoken(self, template: Template, rng: Random) -> Command:
        """Fill a template and let it sound spoken. Values stay as they are drawn, so the answer can quote them."""
        text = re.sub(r"\[([^]]*)\]", lambda m: rng.choice(m[1].split("|")), template.text)
        pieces: list[tuple[str, str | None]] = []
        end = 0
        for match in PART.finditer(text):
            pieces.append((_worn(text[end : match.start()], rng), None))
            value = rng.choice(self._values[match[2] or match[1]])
            odd = 0.0 if match[1] in _TELLING else max(self.odd_values, 0.15 if match[1] in _OPEN else 0.0)
            if odd and not self.is_test and rng.random() < odd:
                value = " ".join(rng.choice(self._words) for _ in range(rng.choice((1, 1, 2, 3))))
            if rng.random() < 0.03:
                value = _slip(value, rng)
            pieces.append((value, None if match[1] in UNLABELED else match[1]))
            end = match.end()
        pieces.append((_worn(text[end:], rng), None))
        before, after = _wrapping(template.is_order, rng)
        said = " ".join(" ".join([before, *(piece for piece, _ in pieces), after]).split())
        slots = tuple((slot, value) for value, slot in pieces if slot)
        return Command(said, template.intent, slots)


def _wrapping(is_order: bool, rng: Random) -> tuple[str, str]:
    """What a speaker says before and after: name call, hesitation, politeness. Mostly nothing."""
    before = []
    if rng.random() < 0.08:
        before.append(rng.choice(_CALLS))
    if rng.random() < 0.05:
        before.append(rng.choice(_FILLERS))
    if is_order and rng.random() < 0.3:
        before.append(rng.choice(_POLITE))
    after = "please" if is_order and "please" not in " ".join(before) and rng.random() < 0.08 else ""
    return " ".join(before), after


def _worn(text: str, rng: Random) -> str:
    """Now and then a hesitation, a doubled word or a typing slip in the words around the slots."""
    words = text.split()
    if not words or rng.random() > 0.06:
        return text
    at = rng.randrange(len(words))
    how = rng.random()
    if how < 0.25:
        words.insert(at, rng.choice(_FILLERS))
    elif how < 0.45:
        words.insert(at, words[at])
    elif how < 0.6 and len(words) > 3:
        del words[at]
    else:
        words[at] = _slip(words[at], rng)
    return " ".join(words)


def _slip(word: str, rng: Random) -> str:
    """A typing slip: two letters swapped, one lost, or one doubled. Short words stay whole."""
    if len(word) < 4:
        return word
    at = rng.randrange(1, len(word) - 1)
    if " " in word[at - 1 : at + 2]:
        return word
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return rng.choice([swapped, word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:]])


def rationale(command: Command, style: str) -> str:
    """Why the answer is what it is, in one of the four styles of `edgedistill.prompts.STYLES`, and the answer.

    Short on purpose: on the device every token of it is paid for in latency.
    """
    gloss, near, far = GLOSS[command.intent]
    match style:
        case "procedure":
            parts = [f"action: {gloss}", *(f"{slot.replace('_', ' ')}: {value}" for slot, value in command.slots)]
            why = ", ".join(parts) + "."
        case "rules":
            rules = [f"{gloss} means {command.intent}", *(f"{value} is {slot}" for slot, value in command.slots)]
            why = "Rule: " + "; ".join(rules) + "."
        case "bare":
            why = f"It is {command.intent}."
        case "elimination":
            why = f"Not {near}, not {far}, but {command.intent}."
        case _:
            raise ValueError(f"no rationale style named {style!r}")
    return f"{why} <ans>{command.answer}</ans>"


def slot_names() -> list[str]:
    """Every slot name that an answer can have."""
    return sorted({match[1] for t in templates() for match in PART.finditer(t.text)} - UNLABELED)


def grammar_gbnf() -> str:
    """A llama.cpp grammar of the whole answer: rationale without '<', then the JSON action in its tags."""
    intents = " | ".join(f'"{intent}"' for intent in INTENTS)
    slots = " | ".join(f'"{slot}"' for slot in slot_names())
    return f"""# What a model may answer to a `home` command: a short rationale, then one JSON action.
root   ::= why "<ans>" action "</ans>"
why    ::= [^<]*
action ::= "{{\\"intent\\": \\"" intent "\\"" pair* "}}"
pair   ::= ", \\"" slot "\\": \\"" value "\\""
value  ::= [^"\\\\<>{{}}\\n]+
intent ::= {intents}
slot   ::= {slots}
"""
