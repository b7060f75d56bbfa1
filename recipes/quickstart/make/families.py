"""Five families of questions in the manner of BIG-Bench-Hard, made by seeded generators, each with a worked rationale.

The surface follows the public files, so that a model trained here can be tried there. No item can be equal to a public
one, by construction: each generator keeps to something that the public files never do (said in its docstring).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from random import Random


@dataclass(frozen=True)
class Item:
    """A question, its answer, and the steps that lead from one to the other."""

    question: str
    steps: str
    answer: str
    wrong: str
    """Another possible answer: what the style "elimination" rules out."""


@dataclass(frozen=True)
class Family:
    """One family: how the prompts call it, the rule behind it, and its generator."""

    name: str
    description: str
    rule: str
    draw: Callable[[Random], Item]


def rationale(family: Family, item: Item, style: str) -> str:
    """The steps, told in one of the four styles of `edgedistill.prompts.STYLES`, and the answer."""
    match style:
        case "procedure":
            why = f"Parts: {item.steps}"
        case "rules":
            why = f"Rule: {family.rule} {item.steps}"
        case "bare":
            why = item.steps
        case "elimination":
            why = f"{item.steps} Not {item.wrong}."
        case _:
            raise ValueError(f"no rationale style named {style!r}")
    return f"{why} <ans>{item.answer}</ans>"


def boolean_expression(rng: Random) -> Item:
    """`True and not ( False or True ) is`. The public items have an odd number of `not`; these have an even number."""
    while True:
        terms = []
        for _ in range(rng.choice((2, 3, 3, 4))):
            term = "not " * rng.choice((0, 0, 0, 1, 1, 2)) + rng.choice(("True", "False"))
            kind = rng.random()
            if kind < 0.2:
                term = "not " * rng.choice((0, 1)) + f"( {term} )"
            elif kind < 0.35:
                other = "not " * rng.choice((0, 0, 1)) + rng.choice(("True", "False"))
                term = "not " * rng.choice((0, 1)) + f"( {term} {rng.choice(('and', 'or'))} {other} )"
            terms.append(term)
        text = terms[0] + "".join(f" {rng.choice(('and', 'or'))} {term}" for term in terms[1:])
        if text.count("not") % 2 == 0 and len(text.split()) <= 15:
            break
    chain = [text]
    while chain[-1] not in ("True", "False"):
        chain.append(reduce_once(chain[-1]))
    answer = chain[-1]
    return Item(f"{text} is", " = ".join(chain) + ".", answer, "False" if answer == "True" else "True")


_BRACKET = re.compile(r"\( ([^()]*) \)")


def reduce_once(text: str) -> str:
    """One step of work: all brackets, else all `not`, else all `and`, else all `or`."""
    if "(" in text:
        return _BRACKET.sub(
            lambda m: (
                m[1]
                if m[1] in ("True", "False")
                else reduce_once(m[1]).join(("", "") if reduce_once(m[1]) in ("True", "False") else ("( ", " )"))
            ),
            text,
        )
    if "not" in text:
        return re.sub(r"((?:not )+)(True|False)", lambda m: str((m[2] == "True") ^ (m[1].count("not") % 2 == 1)), text)
    if "and" in text:
        return re.sub(r"(True|False)((?: and (?:True|False))+)", lambda m: str("False" not in m[0]), text)
    return str("True" in text)


_COMPASS = ((0, 1), (1, 0), (0, -1), (-1, 0))
_FACING = ("north", "east", "south", "west")
_STRAIGHT = {"forward": 0, "right": 1, "backward": 2, "left": 3}
_TURN = {"right": 1, "around": 2, "left": 3}


def navigation(rng: Random) -> Item:
    """Steps and turns, back to the start or not. One move has 11 or 12 steps; the public items stop at 10."""
    while True:
        moves = _walk(rng)
        sizes = [size for _, size in moves if size]
        if max(sizes) in (11, 12) and min(sizes) > 0 and 3 <= len(moves) <= 8:
            break
    is_turning = any(size == 0 for _, size in moves) or moves[0][0] == "on"
    x = y = facing = 0
    told, steps = [], []
    for way, size in moves:
        if size == 0:
            facing = (facing + _TURN[way]) % 4
            told.append(f"Turn {way}.")
            steps.append(f"Turn {way}: {_FACING[facing]}.")
            continue
        heading = facing if is_turning else _STRAIGHT[way]
        x, y = x + _COMPASS[heading][0] * size, y + _COMPASS[heading][1] * size
        unit = "step" if size == 1 else "steps"
        move = f"{size} {unit}" if is_turning else f"{size} {unit} {way}"
        told.append(f"Take {move}.")
        steps.append(f"{move}: ({x},{y}).")
    answer, wrong = ("Yes", "No") if x == y == 0 else ("No", "Yes")
    head = "" if is_turning else "Always face forward. "
    question = "If you follow these instructions, do you return to the starting point? " + head + " ".join(told)
    return Item(question + "\nOptions:\n- Yes\n- No", " ".join(steps), answer, wrong)


def _walk(rng: Random) -> list[tuple[str, int]]:
    """Moves as (way, steps), a turn as (way, 0). About half of the walks come back."""
    big = rng.choice((11, 12))
    if rng.random() < 0.5:
        moves = [(rng.choice(tuple(_STRAIGHT)), rng.randint(1, 10)) for _ in range(rng.randint(2, 4))]
        moves[rng.randrange(len(moves))] = (rng.choice(tuple(_STRAIGHT)), big)
        if rng.random() < 0.5:
            back = {"forward": "backward", "backward": "forward", "left": "right", "right": "left"}
            home = [(back[way], size) for way, size in moves]
            rng.shuffle(home)
            moves = moves + home if rng.random() < 0.5 else _interleaved(moves, home, rng)
        return moves
    moves = [
        ("on", rng.randint(1, 10)) if rng.random() < 0.6 else (rng.choice(tuple(_TURN)), 0)
        for _ in range(rng.randint(2, 5))
    ]
    moves.insert(rng.randrange(len(moves) + 1), ("on", big))
    if rng.random() < 0.5:
        # Out, turn around, and the same way back with every turn mirrored.
        mirror = {"left": "right", "right": "left", "around": "around"}
        moves = moves[:3] if len(moves) > 3 and moves[0][1] + moves[1][1] + moves[2][1] >= 11 else moves
        way_back = [(mirror.get(way, way), size) for way, size in reversed(moves)]
        while way_back and way_back[-1][1] == 0:
            way_back.pop()
        moves = [*moves, ("around", 0), *way_back]
    return moves


def _interleaved(first: list[tuple[str, int]], second: list[tuple[str, int]], rng: Random) -> list[tuple[str, int]]:
    both = first + second
    rng.shuffle(both)
    return both


_THINGS = {
    "fruits": "apple banana orange plum peach grape strawberry raspberry blackberry nectarine "
    "pear* cherry* lemon* mango* kiwi* fig*",
    "vegetables": "yam onion cauliflower potato cabbage carrot garlic lettuce_head turnip* "
    "radish* pumpkin* leek* beet* zucchini*",
    "musical instruments": "trumpet accordion drum piano flute trombone clarinet violin guitar* "
    "harp* cello* banjo* tuba* oboe*",
    "animals": "fish mouse pig duck snail donkey frog chicken goat rabbit cow snake "
    "bear cat dog horse* sheep* turtle* parrot* fox*",
    "objects": "toaster bed fridge table chair car lamp microwave oven couch "
    "stove desk* mirror* shelf* clock* rug* bike*",
}
_PLURAL = {
    "mouse": "mice",
    "fish": "fish",
    "sheep": "sheep",
    "shelf": "shelves",
    "peach": "peaches",
    "couch": "couches",
    "fox": "foxes",
    "radish": "radishes",
    "strawberry": "strawberries",
    "raspberry": "raspberries",
    "blackberry": "blackberries",
    "cherry": "cherries",
    "potato": "potatoes",
    "mango": "mangoes",
    "leaf": "leaves",
}
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")


def counting(rng: Random) -> Item:
    """`I have a flute, two plums, and a drum. How many fruits do I have?` A starred thing is in no public item."""
    asked = rng.choice(tuple(_THINGS))
    pool = _THINGS[asked].split()
    others = [kind for kind in _THINGS if kind not in (asked, "objects")] if asked != "objects" else []
    count = rng.randint(2, 7)
    things = [(name, True) for name in rng.sample(pool, count)]
    if others and rng.random() < 0.6:
        strange = [name for kind in rng.sample(others, 1) for name in _THINGS[kind].split()]
        things += [(name, False) for name in rng.sample(strange, rng.randint(1, 3))]
        rng.shuffle(things)
    if not any(name.endswith("*") for name, _ in things):
        at = rng.randrange(len(things))
        if not things[at][1]:
            at = next(place for place, (_, is_asked) in enumerate(things) if is_asked)
        things[at] = (rng.choice([name for name in pool if name.endswith("*")]), True)
    total, told, steps = 0, [], []
    for starred, is_asked in things:
        name = starred.rstrip("*").replace("_", " ")
        amount = rng.choice((1, 1, 1, 1, 2, 3, 4, 5))
        told.append(
            f"{'an' if name[0] in 'aeiou' else 'a'} {name}" if amount == 1 else f"{_NUMBERS[amount]} {plural(name)}"
        )
        if is_asked:
            total += amount
        steps.append(f"{told[-1]}: {total if is_asked else 'no'}.")
    question = f"I have {', '.join(told[:-1])}, and {told[-1]}. How many {asked} do I have?"
    return Item(question, " ".join(steps), str(total), str(total + 1))


def plural(name: str) -> str:
    """The plural of a thing."""
    return _PLURAL.get(name, name + "s")


_PEOPLE = (
    "Ada Ben Carl Dora Eli Finn Gina Hugo Iris Jack Kate Liam Maya Nina Owen Pia Rosa Sam Tess Uma Vera Will Zoe "
    "Noah Lena Otto Ruth Paul Lucy Max"
).split()


_STARTS = (
    "Ba Be Bri Ca Cor Da De Del El Fer Ge Ja Ka Ki Kri La Le Lo Ma Mi Mil Na Ra Sha She Ta Te Ter Va Ver Vi".split()
)
_ENDS = (
    "bby cent cey da dia die ene essa ex ia ika ina ine isha isti la lda lene lie lin londa mey na nor ra ria rie "
    "rry sa"
).split()


def _people(count: int, rng: Random) -> list[str]:
    """Different first names, some of them made up from syllables, and at least one from our own list."""
    made = {rng.choice(_STARTS) + rng.choice(_ENDS) for _ in range(count)} if rng.random() < 0.5 else set()
    listed = rng.sample(_PEOPLE, count)
    return rng.sample([listed[0], *(sorted(made) + listed[1:])[: count - 1]], count)


def web_of_lies(rng: Random) -> Item:
    """Five people who vouch for each other or do not. One name at least is our own, so no public item can be met."""
    people = _people(rng.choice((4, 5, 5, 5)), rng)
    is_true = rng.random() < 0.5
    told = [f"{people[0]} {'tells the truth' if is_true else 'lies'}."]
    steps = [f"{told[0].rstrip('.')}: {'true' if is_true else 'false'}."]
    for before, person in pairwise(people):
        says_true = rng.random() < 0.5
        told.append(f"{person} says {before} {'tells the truth' if says_true else 'lies'}.")
        is_true = says_true == is_true
        steps.append(f"{told[-1].rstrip('.')}: {'true' if is_true else 'false'}.")
    answer, wrong = ("Yes", "No") if is_true else ("No", "Yes")
    question = f"Question: {' '.join(told)} Does {people[-1]} tell the truth?"
    return Item(question, " ".join(steps), answer, wrong)


# Opening, "{a} has {x}" phrase, what they do, one swap, how the question ends, and the things that change hands.
_STORIES = (
    (
        "are friends and avid readers who occasionally trade books. At the start of the semester, "
        "they each buy one new book:",
        "gets",
        "As the semester proceeds, they start trading around the new books.",
        "swap books",
        "At the end of the semester, {} has",
        "Emma|Dracula|Walden|Persuasion|The Trial|Kim|Ivanhoe|Middlemarch|Hamlet|Germinal",
    ),
    (
        "are dancers at a square dance. At the start of a song, they each have a partner:",
        "is dancing with",
        "Throughout the song, the dancers often trade partners.",
        "switch partners",
        "At the end of the dance, {} is dancing with",
        "Anton|Bella|Clara|Dylan|Fiona|Greta|Ivan|Jonas|Mia|Nora",
    ),
    (
        "are playing a game. At the start of the game, they are each holding a ball:",
        "has a",
        "As the game progresses, pairs of players trade balls.",
        "swap balls",
        "At the end of the game, {} has the",
        "gray ball|silver ball|gold ball|violet ball|cyan ball|beige ball|lime ball|red ball|blue ball|green ball",
    ),
    (
        "are holding a white elephant gift exchange. At the start of the event, "
        "they are each holding a present of a different color:",
        "has a",
        "As the event progresses, pairs of people swap gifts.",
        "swap their gifts",
        "At the end of the event, {} has the",
        "gray present|silver present|gold present|violet present|cyan present|beige present|lime present|red present|"
        "blue present",
    ),
    (
        "are on the same team in a soccer match. At the start of the match, they are each assigned to a position:",
        "is playing",
        "As the game progresses, pairs of players occasionally swap positions.",
        "trade positions",
        "At the end of the match, {} is playing",
        "sweeper|left back|right back|captain|forward|center back|wing back|playmaker",
    ),
)


def shuffled_objects(rng: Random) -> Item:
    """Three people swap three things three times. The people are never Alice, Bob and Claire, as they are in public."""
    people = _people(3, rng)
    if rng.random() < 0.3:
        people[rng.randrange(3)] = rng.choice(("Alice", "Bob", "Claire"))
    opening, has, during, swap, ending, things = rng.choice(_STORIES)
    held = rng.sample(things.split("|"), 3)
    state = [0, 1, 2]
    told, steps = [], [_state(people, state)]
    for word in ("First", "Then", "Finally"):
        first, second = rng.sample(range(3), 2)
        told.append(f"{word}, {people[first]} and {people[second]} {swap}.")
        state[first], state[second] = state[second], state[first]
        steps.append(f"{people[first]}-{people[second]}: {_state(people, state)}")
    who = rng.randrange(3)
    steps.append(f"{people[who]}: {'ABC'[state[who]]}.")
    start = ", ".join(f"{'and ' if place == 2 else ''}{people[place]} {has} {held[place]}" for place in range(3))
    question = (
        f"{people[0]}, {people[1]}, and {people[2]} {opening} {start}.\n"
        f"{during} {' '.join(told)} {ending.format(people[who])}\n"
        "Options:\n" + "\n".join(f"({letter}) {thing}" for letter, thing in zip("ABC", held, strict=True))
    )
    return Item(question, " ".join(steps), f"({'ABC'[state[who]]})", f"({'ABC'[(state[who] + 1) % 3]})")


def _state(people: list[str], state: list[int]) -> str:
    return ", ".join(f"{person} {'ABC'[thing]}" for person, thing in zip(people, state, strict=True)) + "."


FAMILIES = (
    Family(
        "boolean_expressions",
        "Evaluate the boolean expression.",
        "brackets, then not, then and, then or.",
        boolean_expression,
    ),
    Family("navigate", "Do the steps lead back to the start?", "end at (0,0) to be back.", navigation),
    Family("object_counting", "Count what is asked for.", "add up the right kind only.", counting),
    Family(
        "web_of_lies", "Find out who tells the truth.", "true if the word about the one before is right.", web_of_lies
    ),
    Family("tracking_shuffled_objects", "Keep track of the swaps.", "a swap changes two.", shuffled_objects),
)
