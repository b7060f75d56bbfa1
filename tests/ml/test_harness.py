"""The real lm-evaluation-harness on tasks of three questions, answered by the real engine. No data is fetched."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval", reason="needs the extra: pip install edgedistill[lm-eval]")

from edgedistill.engine import user
from edgedistill.engines import llama
from edgedistill.errors import UsageError
from edgedistill.ml import harness
from edgedistill.report.schema import PublicTask
from edgedistill.sections import ValidateConfig
from edgedistill.stages import reference

DOCS = [
    {"question": "Is a gym a place?", "choices": ["yes", "no", "perhaps"], "gold": 0},
    {"question": "Is the light in the kitchen off?", "choices": ["on", "off", "dim"], "gold": 1},
    {"question": "What is 2 and 2?", "choices": ["three", "five", "four"], "gold": 2},
]
TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
doc_to_text: "{{{{question}}}}"
{rest}
"""
CHOICE = """\
output_type: multiple_choice
doc_to_choice: "{{choices}}"
doc_to_target: "{{gold}}"
metric_list: [{metric: acc}]"""
WRITTEN = """\
output_type: generate_until
doc_to_target: "{{choices[gold]}}"
generation_kwargs: {until: ["e"], max_gen_toks: 12}
metric_list: [{metric: exact_match}]"""
LAST_WORD = """\
output_type: loglikelihood
doc_to_target: "{{choices[gold]}}"
metric_list: [{metric: acc}]"""
ROLLING = """\
output_type: loglikelihood_rolling
doc_to_target: "{{question}}"
metric_list: [{metric: word_perplexity}]"""


@pytest.fixture(scope="module")
def engine(tiny_candidates):
    with llama.open_file(tiny_candidates.path / "model-f16.gguf", context=512, threads=1) as opened:
        yield opened


@pytest.fixture
def task_files(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "tasks"
    folder.mkdir()
    data = folder / "docs.jsonl"
    data.write_text("".join(json.dumps(doc) + "\n" for doc in DOCS))
    rests = {"tiny_choice": CHOICE, "tiny_written": WRITTEN, "tiny_last_word": LAST_WORD, "tiny_rolling": ROLLING}
    for name, rest in rests.items():
        (folder / f"{name}.yaml").write_text(TASK.format(name=name, data=data, rest=rest))
    (folder / "tiny_missing.yaml").write_text(TASK.format(name="tiny_missing", data=folder / "none", rest=CHOICE))
    return folder


def run(out: Path, engine: Any, folder: Path, *tasks: str, items: int | None = None) -> dict[str, Any]:
    return harness.run(out, "gguf-F16", engine, tasks, items, folder)


def test_choices_and_written_answers_are_those_of_the_engine(engine, task_files, tmp_path):
    """The same from the engine directly: the likeliest choice after the question, and the text up to the first `e`."""
    found = run(tmp_path, engine, task_files, "tiny_choice", "tiny_written")
    right = 0
    for doc in DOCS:
        said = [user(str(doc["question"]))] * 3
        sums = list(map(math.fsum, engine.answer_log_probs(said, list(doc["choices"]))))
        right += sums.index(max(sums)) == doc["gold"]
    assert PublicTask(**found["tiny_choice"]) == PublicTask(
        metric="acc", value=round(right / 3, 6), stderr=found["tiny_choice"]["stderr"], n=3
    )
    texts = engine.generate([user(str(doc["question"])) for doc in DOCS], max_tokens=12)
    equal = sum(text.partition("e")[0] == doc["choices"][doc["gold"]] for text, doc in zip(texts, DOCS, strict=True))
    assert (found["tiny_written"]["metric"], found["tiny_written"]["value"]) == ("exact_match", round(equal / 3, 6))


def test_a_rerun_reads_what_was_found(engine, task_files, tmp_path):
    first = run(tmp_path, engine, task_files, "tiny_choice", items=2)
    assert first["tiny_choice"]["n"] == 2
    assert run(tmp_path, None, task_files, "tiny_choice", items=2) == first


def test_a_single_continuation_is_right_when_greedy_decoding_would_write_it(engine, task_files, tmp_path):
    questions = [f"Say {n}." for n in range(48)]
    greedy = engine.generate([user(question) for question in questions], max_tokens=1)
    plain = [n for n, text in enumerate(greedy) if text.isascii() and text.isprintable() and text.strip()]
    assert plain, "random weights begin with a plain token now and then"
    said = json.dumps([{"role": "user", "content": questions[plain[0]]}])
    other = "a" if greedy[plain[0]] != "a" else "b"
    model = harness.EngineModel(engine, "tiny")
    for text, is_greedy in ((greedy[plain[0]], True), (other, False)):
        assert model.loglikelihood([harness.Instance("loglikelihood", {}, (said, text), 0)])[0][1] is is_greedy
    assert run(tmp_path, engine, task_files, "tiny_last_word")["tiny_last_word"]["value"] == 0.0


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("tiny_chioce", "no task `tiny_chioce`, did you mean `tiny_choice`"),
        ("tiny_missing", "the data of tiny_missing cannot be had"),
        ("tiny_rolling", "tiny_rolling takes the perplexity of raw text"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(engine, task_files, tmp_path, task, words):
    with pytest.raises(UsageError, match=words):
        run(tmp_path, engine, task_files, task)
    assert not list(tmp_path.glob("lm_eval/*.json"))


def test_without_the_extra_the_recipe_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="not installed"):
        reference._public(tmp_path, "tuned", None, ValidateConfig(lm_eval=("arc_easy",)))
