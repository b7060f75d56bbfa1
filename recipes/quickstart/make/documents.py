"""Training documents: chats with a weight per stretch of text, endless and drawn from a seed.

A stretch of weight 1 is what a model must learn to say; prompts weigh little. Teacher documents ask for answers in each
style and for new questions. Student documents are few-shot: names, formats and tasks change from one to the next, so
that what the examples show has to be used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from random import Random

from edgedistill.prompts import (
    ANSWER_RULE,
    OPENER,
    STYLES,
    plain_prompt,
    question_block,
    question_prompt,
    styled_prompt,
)

from . import families, home
from .domains import DOMAIN_VALUES, DOMAINS
from .phrases import GLOSS

Document = list[tuple[str, float]]
STYLE_NAMES = tuple(style.name for style in STYLES)
PROMPT_WEIGHT = 0.1
ODD_VALUES = 0.3
"""How often a slot of a command to be answered holds words from anywhere."""


def chat(prompt: Document, answer: Document) -> Document:
    """A question and its answer as the chat template writes them."""
    return [("<|begin|><|user|>\n", 0.0), *prompt, ("<|end|>\n<|assistant|>\n", 0.0), *answer, ("<|end|>", 1.0)]


# --- teacher ---


def teacher_documents(
    rng: Random,
    avoid: frozenset[str],
    vocab_words: list[str],
    copies: float = 0.08,
    weights: tuple[int, ...] = (3, 4, 3, 2, 3),
    odd_values: float = ODD_VALUES,
) -> Iterator[Document]:
    """What the teacher learns from. `avoid` holds the questions that are kept for validation and test.

    `copies` is the share of documents that are plain copying: they keep the skill alive while the rest is learnt.
    Commands to be answered often hold odd values, which must be quoted; commands to be written do not.
    """
    grammar, odd_grammar = home.Grammar(), home.Grammar(odd_values=odd_values)
    while True:
        kind = rng.random()
        if rng.random() < copies:
            yield copying(rng, vocab_words)
        elif kind < 0.40:
            command = _fresh_command(odd_grammar, rng, avoid)
            yield _answered(home.DESCRIPTION, command.text, partial(home.rationale, command), rng)
        elif kind < 0.88:
            family = rng.choices(families.FAMILIES, weights=weights)[0]
            item = _fresh_item(family, rng, avoid)
            yield _answered(family.description, item.question, partial(families.rationale, family, item), rng)
        elif kind < 0.93:
            count = rng.choice((1, 2, 5, 5))
            commands = [_fresh_command(grammar, rng, avoid) for _ in range(3 + count)]
            yield _questions(home.NAME, home.DESCRIPTION, [(c.text, c.answer) for c in commands], count)
        else:
            family = rng.choice(families.FAMILIES)
            count = rng.choice((1, 2)) if family.name == "tracking_shuffled_objects" else rng.choice((1, 2, 5, 5))
            items = [_fresh_item(family, rng, avoid) for _ in range(3 + count)]
            yield _questions(family.name, family.description, [(i.question, i.answer) for i in items], count)


def _fresh_command(
    grammar: home.Grammar, rng: Random, avoid: frozenset[str], intent: str | None = None
) -> home.Command:
    """Draw until the utterance is none of those to avoid."""
    while True:
        command = grammar.draw(rng, intent)
        if command.text not in avoid:
            return command


def _fresh_item(family: families.Family, rng: Random, avoid: frozenset[str]) -> families.Item:
    """Draw until the question is none of those to avoid."""
    while True:
        item = family.draw(rng)
        if item.question not in avoid:
            return item


def _answered(description: str, question: str, rationale: Callable[[str], str], rng: Random) -> Document:
    """One answer. The plain prompt leaves the style open, so the teacher has all four; a styled prompt names it."""
    style = rng.choice(STYLES)
    prompt = plain_prompt(description, question) if rng.random() < 0.5 else styled_prompt(description, question, style)
    return chat([(prompt, PROMPT_WEIGHT)], [(rationale(style.name), 1.0)])


def _questions(name: str, description: str, pairs: list[tuple[str, str]], count: int) -> Document:
    """New questions after seeds. The seeds weigh as much as the new ones: both teach what a question looks like."""
    seeds = len(pairs) - count
    head = question_prompt(name, description, [], count)
    shown = question_prompt(name, description, pairs[:seeds], count)[len(head) :]
    new = "\n".join(question_block(n, q, a) for n, (q, a) in enumerate(pairs[seeds:], start=seeds + 1))
    return chat([(head, PROMPT_WEIGHT), (shown, 0.5)], [(new, 1.0)])


# --- student ---

KNOWN = ("play_music", "weather_query", "alarm_set", "lists_query", "audio_volume_up", "iot_hue_lightoff")
"""The few home actions whose real names the student learns to say unprompted."""

_SHORT_SLOTS = {
    "house_place": "room",
    "device_type": "device",
    "change_amount": "amount",
    "color_type": "color",
    "coffee_type": "kind",
    "date": "day",
    "time": "at",
    "timeofday": "part",
    "alarm_type": "alarm",
    "list_name": "list",
    "place_name": "place",
    "weather_descriptor": "weather",
    "music_genre": "genre",
    "artist_name": "artist",
    "song_name": "song",
    "playlist_name": "playlist",
    "event_name": "event",
    "general_frequency": "repeat",
    "time_zone": "zone",
}
_OTHER_DESCRIPTIONS = (
    "Give the meaning of the command.",
    "What does the user want?",
    "Read the request.",
    "Name the intent.",
)


@dataclass(frozen=True)
class Manners:
    """What the student's few-shot documents have in common."""

    style_weights: tuple[int, ...] = (4, 4, 1, 0)
    """The solved examples that the student reads work by steps or by rules; of other styles it sees little or none."""
    real_slots: tuple[float, ...] = (0.2, 0.3, 0.6)
    """How often a document calls a slot by its real name; one rate is drawn per document. An example without slots
    tells nothing of their names, one slot tells its own, several tell that the real names are meant. Empty: slots are
    named in the scheme of the actions."""


class _Manner:
    """How one document names things and writes answers. Drawn once per document: the examples show it, nothing else."""

    def __init__(self, rng: Random, scheme: str, manners: Manners) -> None:
        self.scheme = scheme
        self.style = rng.choices(STYLE_NAMES, weights=manners.style_weights)[0]
        self.key = "intent" if scheme != "random" or rng.random() < 0.6 else rng.choice(("action", "act", "do", "type"))
        self.form = rng.choice(("json", "json", "json", "call", "line")) if scheme == "random" else "json"
        self._rng = rng
        self._labels: dict[str, str] = {}
        self._slots: dict[str, str] = {}
        real = scheme == "real"
        self._real_slots = rng.choice(manners.real_slots) if manners.real_slots else float(real)

    def label(self, intent: str) -> str:
        """What this document calls an intent."""
        words = GLOSS[intent][0].split() if intent in GLOSS else intent.split("_")
        match self.scheme:
            case "real":
                return intent
            case "snake":
                return "_".join(words)
            case "camel":
                return "".join(word.capitalize() for word in words)
            case "dotted":
                return ".".join(reversed(intent.split("_")))
            case _:
                return self._labels.setdefault(intent, _made_up(self._rng))

    def slot(self, slot: str) -> str:
        """What this document calls a slot."""
        return self._slots.setdefault(slot, self._name(slot))

    def _name(self, slot: str) -> str:
        if self.scheme == "random":
            return _made_up(self._rng) if self._rng.random() < 0.3 else slot
        if self._real_slots == 1.0 or (self._real_slots and self._rng.random() < self._real_slots):
            return slot
        if self.scheme == "camel":
            return "".join(word.capitalize() for word in slot.split("_"))
        return _SHORT_SLOTS.get(slot, slot)

    def answer(self, command: home.Command) -> str:
        """The command's meaning in this document's form."""
        label, pairs = self.label(command.intent), [(self.slot(slot), value) for slot, value in command.slots]
        match self.form:
            case "json":
                return json.dumps({self.key: label, **dict(pairs)}, ensure_ascii=False)
            case "call":
                return f"{label}({', '.join(f'{slot}={value}' for slot, value in pairs)})"
            case _:
                return "; ".join([label, *(f"{slot}: {value}" for slot, value in pairs)])

    def rationale(self, command: home.Command, others: list[str]) -> str:
        """The same four styles as the teacher's, in this document's names."""
        gloss = GLOSS[command.intent][0] if command.intent in GLOSS else command.intent.replace("_", " ")
        near, far = (self.label(other) for other in others)
        match self.style:
            case "procedure":
                parts = [f"{slot.replace('_', ' ')}: {value}" for slot, value in command.slots]
                why = ", ".join([f"action: {gloss}", *parts]) + "."
            case "rules":
                rules = [f"{value} is {self.slot(slot)}" for slot, value in command.slots]
                why = "Rule: " + "; ".join([f"{gloss} means {self.label(command.intent)}", *rules]) + "."
            case "bare":
                why = f"It is {self.label(command.intent)}."
            case _:
                why = f"Not {near}, not {far}, but {self.label(command.intent)}."
        return f"{why} <ans>{self.answer(command)}</ans>"


_SYLLABLES = "ba ko ri mu ten sol dar vi lo pex tar zu nim gor fel wa hu jin cap rod".split()


def _made_up(rng: Random) -> str:
    """A name that means nothing: `kori`, `T4`, `solvi_2`."""
    kind = rng.random()
    if kind < 0.3:
        return rng.choice("ABCDEFGHKLMNPRSTVXYZ") + str(rng.randint(0, 9))
    word = "".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(2, 3)))
    return f"{word}_{rng.randint(1, 9)}" if kind < 0.5 else word


class _Domains(home.Grammar):
    """The grammar of other assistants' commands."""

    def __init__(self, odd_values: float = 0.0) -> None:
        self.is_test = False
        self.odd_values = odd_values
        self.intents = tuple(DOMAINS)
        self._by_intent = {}
        for intent, block in DOMAINS.items():
            lines = block.strip().splitlines()
            self._by_intent[intent] = [
                home.Template(intent, line.lstrip("~"), line[0] != "~", False, n) for n, line in enumerate(lines)
            ]
        kinds = {m[2] or m[1] for ts in self._by_intent.values() for t in ts for m in home.PART.finditer(t.text)}
        self._values = {
            kind: [v.strip() for v in DOMAIN_VALUES[kind].split(",")]
            if kind in DOMAIN_VALUES
            else home.split_values(kind, False)
            for kind in sorted(kinds)
        }
        self._words = home.known_words(2000) if odd_values else home.known_words()


# Where one kind of student document ends and the next begins, on a scale from 0 to 1: copying, small rules, families,
# known home actions, other names for the unknown ones, home commands with examples; the rest is other assistants.
STUDENT_SHARES = (0.12, 0.20, 0.31, 0.36, 0.46, 0.76)


def student_documents(
    rng: Random,
    avoid: frozenset[str],
    vocab_words: list[str],
    shares: tuple[float, ...] = STUDENT_SHARES,
    odd_values: float = ODD_VALUES,
    manners: Manners = Manners(),
) -> Iterator[Document]:
    """What the student learns from: many tasks in few-shot documents, and only half of the home grammar.

    Unprompted it learns the real names of the few `KNOWN` actions, and other names for the rest: those it should only
    learn from examples.
    """
    at_home, elsewhere = home.Grammar(share=0.5, odd_values=odd_values), _Domains(odd_values)
    unknown = tuple(intent for intent in home.INTENTS if intent not in KNOWN)
    while True:
        kind = rng.random()
        if kind < shares[0]:
            yield copying(rng, vocab_words)
        elif kind < shares[1]:
            yield _lookup(rng, vocab_words)
        elif kind < shares[2]:
            family = rng.choice(families.FAMILIES)
            yield _family_shots(family, rng, avoid, manners)
        elif kind < shares[3]:
            yield _commands(at_home, "real", KNOWN, 0, rng, avoid, manners)
        elif kind < shares[4]:
            yield _commands(at_home, rng.choice(("snake", "camel", "dotted")), unknown, 0, rng, avoid, manners)
        elif kind < shares[5]:
            scheme = rng.choices(("real", "snake", "camel", "dotted", "random"), weights=(3, 2, 2, 2, 2))[0]
            intents = tuple(rng.sample(home.INTENTS, rng.choice((2, 3)))) if scheme == "random" else home.INTENTS
            yield _commands(at_home, scheme, intents, rng.choice((1, 1, 1, 2, 3)), rng, avoid, manners)
        else:
            scheme = rng.choices(("snake", "camel", "dotted", "random"), weights=(2, 2, 2, 5))[0]
            intents = tuple(rng.sample(tuple(DOMAINS), rng.choice((1, 2, 3)))) if scheme == "random" else tuple(DOMAINS)
            yield _commands(
                elsewhere,
                scheme,
                intents,
                rng.choice((1, 1, 2, 3)) if scheme == "random" else rng.choice((0, 1, 1, 2)),
                rng,
                avoid,
                manners,
            )


def _shots(description: str, shots: list[tuple[str, str]]) -> Document:
    """Solved examples before a last question, as in `plain_prompt`; every rationale weighs 1, the examples' too."""
    prompt: Document = [(f"{description} {ANSWER_RULE}\n\n", 0.0)]
    for question, why in shots[:-1]:
        prompt += [(f"Question: {question}\nAnswer: {OPENER}", PROMPT_WEIGHT), (f" {why}", 0.3), ("\n\n", 0.0)]
    question, why = shots[-1]
    return chat([*prompt, (f"Question: {question}\nAnswer: {OPENER}", PROMPT_WEIGHT)], [(why, 1.0)])


def _commands(
    grammar: home.Grammar,
    scheme: str,
    intents: tuple[str, ...],
    examples: int,
    rng: Random,
    avoid: frozenset[str],
    manners: Manners,
) -> Document:
    """Commands in one manner. Made-up names can only be read off the examples, so there the last intent was shown."""
    manner = _Manner(rng, scheme, manners)
    chosen = [rng.choice(intents) for _ in range(examples + 1)]
    if scheme == "random" and examples:
        chosen[-1] = rng.choice(chosen[:-1])
    shots = []
    for intent in chosen:
        command = _fresh_command(grammar, rng, avoid, intent)
        others = (
            list(GLOSS[intent][1:]) if intent in GLOSS else rng.sample([i for i in grammar.intents if i != intent], 2)
        )
        shots.append((command.text, manner.rationale(command, others)))
    description = home.DESCRIPTION if manner.form == "json" or rng.random() < 0.5 else rng.choice(_OTHER_DESCRIPTIONS)
    return _shots(description, shots)


def _family_shots(family: families.Family, rng: Random, avoid: frozenset[str], manners: Manners) -> Document:
    """One or two solved questions of a family, then another."""
    style = rng.choices(STYLE_NAMES, weights=manners.style_weights)[0]
    items = [_fresh_item(family, rng, avoid) for _ in range(rng.choice((1, 2)))]
    return _shots(family.description, [(item.question, families.rationale(family, item, style)) for item in items])


def copying(rng: Random, words: list[str]) -> Document:
    """Random words, then the same again, twice: the plainest lesson in looking back."""
    some = "".join(" " + rng.choice(words) for _ in range(rng.randint(4, 20)))
    return [("<|begin|>", 0.0), (some, 0.0), (f"\n{some}\n{some}", 1.0), ("<|end|>", 1.0)]


def _lookup(rng: Random, words: list[str]) -> Document:
    """Small tasks on words that come from the examples alone: which word, in what form, or a table of pairs."""
    kind = rng.choice(("first", "last", "second", "reverse", "upper", "pairs", "after", "quote", "quote"))
    table = {rng.choice(words): _made_up(rng) for _ in range(4)}
    shots = []
    for _ in range(rng.randint(2, 4)):
        said = [rng.choice(words) for _ in range(rng.randint(3, 6))]
        key = rng.choice(list(table))
        match kind:
            case "first":
                question, answer = " ".join(said), said[0]
            case "last":
                question, answer = " ".join(said), said[-1]
            case "second":
                question, answer = " ".join(said), said[1]
            case "reverse":
                question, answer = " ".join(said[:3]), " ".join(reversed(said[:3]))
            case "upper":
                question, answer = said[0], said[0].capitalize()
            case "quote":
                question, answer = " ".join(said), json.dumps({"words": " ".join(said[1:3])})
            case "after":
                at = rng.randrange(len(said) - 1)
                question, answer = f"{' '.join(said)} | {said[at]}", said[at + 1]
            case _:
                question, answer = " ".join(f"{k}={v}" for k, v in table.items()) + f" | {key}", table[key]
        shots.append((question, f"It is {answer}. <ans>{answer}</ans>" if kind != "upper" else f"<ans>{answer}</ans>"))
    return _shots(rng.choice(("Find the rule.", "Do as the examples do.", "Answer in the same way.")), shots)
