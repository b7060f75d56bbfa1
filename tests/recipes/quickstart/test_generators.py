"""The generators of the quickstart recipe: seeded, right by an independent solver, and apart from every test item."""

from __future__ import annotations

import json
import re
import sys
from itertools import islice
from pathlib import Path
from random import Random

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from edgedistill.prompts import STYLES, extract_answer
from recipes.quickstart.make import documents, families, home, tasks

RECIPE = ROOT / "recipes" / "quickstart"
BBH = ROOT.parent / "shared" / "data" / "bbh"
BBH_FILES = {"tracking_shuffled_objects": "tracking_shuffled_objects_three_objects"}


def _rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (RECIPE / name).read_text(encoding="utf-8").splitlines()]


def test_shipped_task_files_are_what_the_generators_make():
    made = tasks.contents()
    assert len(made) == 3 + 1 + 3 * 5
    for name, text in made.items():
        assert (RECIPE / name).read_text(encoding="utf-8") == text, name


def test_same_seed_gives_same_documents():
    for source in (
        lambda: documents.teacher_documents(Random(4), frozenset(), ["tea", "milk"]),
        lambda: documents.student_documents(Random(4), frozenset(), ["tea", "milk"]),
    ):
        assert list(islice(source(), 60)) == list(islice(source(), 60))


def test_documents_leave_out_the_kept_questions():
    """Every question of the first 300 documents is kept back: a second run must not contain one of them."""

    def asked(avoid: frozenset[str]) -> set[str]:
        drawn = islice(documents.teacher_documents(Random(4), avoid, ["tea", "milk"]), 300)
        texts = ("".join(text for text, _ in document) for document in drawn)
        return {found for text in texts for found in re.findall(r"Question: (.*?)\nAnswer:", text, re.DOTALL)}

    kept = frozenset(asked(frozenset()))
    assert len(kept) > 150
    assert not asked(kept) & kept


def test_home_test_shares_no_template_and_no_divided_value_with_training():
    train = {t.text for t in home.templates() if not t.is_test}
    test = {t.text for t in home.templates() if t.is_test}
    assert len(test) > 100 and not train & test
    divided = [
        kind for kind in ("house_place", "song_name", "artist_name", "place_name", "time", "color_type", "list_name")
    ]
    for kind in divided:
        ours, theirs = set(home.split_values(kind, False)), set(home.split_values(kind, True))
        assert ours and theirs and not ours & theirs, kind


def test_home_splits_share_no_question():
    seen: set[str] = set()
    for split in ("seeds", "validation", "test"):
        questions = [row["question"] for row in _rows(f"home/{split}.jsonl")]
        assert len(set(questions)) == len(questions) and not seen & set(questions)
        seen |= set(questions)
    assert len(_rows("home/test.jsonl")) >= 200


def test_home_has_the_21_intents_in_every_large_split():
    for split in ("validation", "test"):
        assert {json.loads(row["answer"])["intent"] for row in _rows(f"home/{split}.jsonl")} == set(home.INTENTS)
    assert len(home.INTENTS) == 21


def test_home_values_stand_in_the_utterance_in_the_order_of_the_answer():
    for row in _rows("home/validation.jsonl") + _rows("home/test.jsonl"):
        at = 0
        for value in list(json.loads(row["answer"]).values())[1:]:
            at = row["question"].index(value, at)


@pytest.mark.parametrize("style", [style.name for style in STYLES])
def test_home_rationale_ends_in_the_answer(style):
    grammar, rng = home.Grammar(), Random(2)
    for _ in range(200):
        command = grammar.draw(rng)
        text = home.rationale(command, style)
        assert extract_answer(text) == command.answer and text.count("<") == 2


@pytest.mark.parametrize("family", families.FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("style", [style.name for style in STYLES])
def test_family_rationale_ends_in_the_answer_of_an_independent_solver(family, style):
    rng = Random(3)
    for _ in range(150):
        item = family.draw(rng)
        assert extract_answer(families.rationale(family, item, style)) == SOLVERS[family.name](item.question)
        assert item.wrong != item.answer


@pytest.mark.parametrize("family", families.FAMILIES, ids=lambda family: family.name)
def test_no_training_item_equals_a_public_one(family):
    path = BBH / f"{BBH_FILES.get(family.name, family.name)}.json"
    if not path.exists():
        pytest.skip(f"the public files are not beside this clone: {path}")
    public = {example["input"].strip() for example in json.loads(path.read_text())["examples"]}
    rng = Random(6)
    drawn = {family.draw(rng).question for _ in range(8000)}
    drawn |= {
        row["question"]
        for split in ("seeds", "validation", "test")
        for row in _rows(f"families/{family.name}/{split}.jsonl")
    }
    assert len(public) >= 125 and not public & drawn


# --- solvers: from the question's text alone, by other means than the generators' ---


def solve_boolean(question: str) -> str:
    return str(eval(question.removesuffix(" is")))


def solve_walk(question: str) -> str:
    """Complex numbers: north is 1j, a right turn multiplies by -1j."""
    place, heading = 0j, 1j
    ways = {"forward": 1j, "backward": -1j, "left": -1 + 0j, "right": 1 + 0j}
    for sentence in question.split("\n", maxsplit=1)[0].split("? ")[1].split(". "):
        words = sentence.rstrip(".").split()
        if words[0] == "Turn":
            heading *= {"left": 1j, "right": -1j, "around": -1}[words[1]]
        elif words[0] == "Take":
            place += int(words[1]) * (ways[words[3]] if len(words) == 4 else heading)
    return "Yes" if place == 0 else "No"


def solve_counting(question: str) -> str:
    asked = re.search(r"How many (.*) do I have", question)[1]  # type: ignore[index]
    kinds = {name.rstrip("*").replace("_", " ") for name in families._THINGS[asked].split()}
    kinds |= {families.plural(name) for name in kinds}
    number = {"a": 1, "an": 1, "two": 2, "three": 3, "four": 4, "five": 5}
    things = re.split(r", (?:and )?", question.removeprefix("I have ").split(". How")[0])
    return str(sum(number[thing.split(" ", 1)[0]] for thing in things if thing.split(" ", 1)[1] in kinds))


def solve_lies(question: str) -> str:
    """Each "lies" in the chain turns the truth around, and nothing else matters."""
    told = question.removeprefix("Question: ").split(" Does ")[0]
    return "Yes" if told.count(" lies.") % 2 == 0 else "No"


def solve_swaps(question: str) -> str:
    people = re.match(r"(\w+), (\w+), and (\w+) ", question).groups()  # type: ignore[union-attr]
    holds = dict(zip(people, "ABC", strict=True))
    for first, second in re.findall(r"(?:First|Then|Finally), (\w+) and (\w+) ", question):
        holds[first], holds[second] = holds[second], holds[first]
    who = re.search(r"At the end of the [a-z]+, (\w+) ", question)[1]  # type: ignore[index]
    return f"({holds[who]})"


SOLVERS = {
    "boolean_expressions": solve_boolean,
    "navigate": solve_walk,
    "object_counting": solve_counting,
    "web_of_lies": solve_lies,
    "tracking_shuffled_objects": solve_swaps,
}


# --- grammar and weights ---


def _accepts(answer: str) -> bool:
    """The language of `answer.gbnf`, as a regular expression built from the file's own lists of names."""
    rules = dict(re.findall(r"^(\w+)\s*::= (.*)$", (RECIPE / "home/answer.gbnf").read_text(), re.MULTILINE))
    intents, slots = ("|".join(re.findall(r'"(\w+)"', rules[name])) for name in ("intent", "slot"))
    pair = rf', "(?:{slots})": "[^"\\<>{{}}\n]+"'
    return re.fullmatch(rf'[^<]*<ans>\{{"intent": "(?:{intents})"(?:{pair})*\}}</ans>', answer) is not None


def test_grammar_accepts_every_shipped_answer_and_no_other_intent():
    for split in ("seeds", "validation", "test"):
        for row in _rows(f"home/{split}.jsonl"):
            assert _accepts(f"It is so. <ans>{row['answer']}</ans>"), row
    assert not _accepts('<ans>{"intent": "open_door"}</ans>')
    assert not _accepts('<ans>{"intent": "iot_coffee", "door": "x"}</ans>')


@pytest.mark.parametrize(("name", "limit"), [("teacher", 14_000_000), ("student", 3_500_000)])
def test_shipped_weights_are_bf16_and_under_their_limit(name, limit):
    path = RECIPE / "models" / name / "model.safetensors"
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    tensors = {key: value for key, value in header.items() if key != "__metadata__"}
    assert {value["dtype"] for value in tensors.values()} == {"BF16"}
    count = 0
    for value in tensors.values():
        size = 1
        for length in value["shape"]:
            size *= length
        count += size
        assert value["shape"][-1] % 256 == 0  # K-quants need rows of whole blocks
    assert 1_000_000 < count <= limit


def test_models_share_one_tokenizer():
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"):
        assert (RECIPE / "models/teacher" / name).read_bytes() == (RECIPE / "models/student" / name).read_bytes()
    vocabulary = json.loads((RECIPE / "models/student/tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    assert len(vocabulary) <= 4096
