"""Real candidates of a tiny model through the whole stage, and every way in which a file can be wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from edgedistill import accuracy, golden, latency, target
from edgedistill.artifacts import Candidate, Candidates, Measurements
from edgedistill.engines import llama
from edgedistill.errors import IntegrityError
from edgedistill.files import read_rows, sha256_of, write_rows
from edgedistill.models import Model
from edgedistill.recipe import Budgets
from edgedistill.report.schema import BudgetLine, CandidateLine, StudentLine
from edgedistill.sections import ValidateConfig
from edgedistill.stages import validate as module
from edgedistill.target import Target
from edgedistill.task import Task
from edgedistill.task import load as load_task

CONFIG = ValidateConfig(golden_cases=8, max_tokens=8, context=512)
RPI5 = target.load("rpi5")


@pytest.fixture
def run(tiny_llama, other_llama, tiny_candidates, counting_task, tmp_path, monkeypatch) -> Any:
    """(out, candidates=…, student=…, target=…, budgets=…) -> Measurements"""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(
        out: str,
        candidates: Candidates = tiny_candidates,
        student: Path = tiny_llama,
        device: Target = RPI5,
        budgets: Budgets = RPI5.budgets,
        task: Task = counting_task,
        max_tokens: int = CONFIG.max_tokens,
    ) -> Measurements:
        folder = tmp_path / out
        folder.mkdir(exist_ok=True)
        models = Model(student, "tuned"), Model(other_llama, "base")
        config = CONFIG.model_copy(update={"max_tokens": max_tokens})
        return module.validate.function(folder, candidates, *models, [task], None, device, budgets, config, 5)

    return run


def only(candidates: Candidates, file: Path, folder: Path) -> Candidates:
    """A set of candidates of one file that stands in for the F16 one."""
    folder.mkdir()
    first = next(iter(candidates.rows()))
    (folder / file.name).symlink_to(file)
    write_rows(folder / "candidates.jsonl", [asdict(replace(first, file=file.name, sha256=sha256_of(file)))])
    return Candidates(folder, "edited")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_everything_is_measured_and_an_interrupted_run_ends_alike(run, tmp_path, monkeypatch):
    found = run("whole").read()
    StudentLine(**found["student"])
    lines = [CandidateLine(**line) for line in found["candidates"]]
    assert [line.quant for line in lines] == ["F16", "Q8_0"]
    assert found["student"]["n"] == 6
    assert found["versions"]["llama-cpp-python"] == "0.3.36"
    assert "unicode" not in found["conditions"]
    for line in lines:
        assert line.parity is not None and line.parity.passed
        assert line.parity.cases == line.parity.prompt_text == line.parity.token_ids == 8
        assert line.latency is not None and line.latency.evidence == "predicted"
        assert line.accuracy is not None and line.accuracy.n == 6
    budgets = {budget["name"]: BudgetLine(**budget) for budget in found["budgets"]}
    assert budgets["decode_tok_s"].verdict == budgets["first_token_ms"].verdict == "unproven"
    assert budgets["package_mib"].verdict == "met"
    answers = {path.stem for path in (tmp_path / "whole" / "answers").iterdir()}
    assert answers == {"base", "tuned", "gguf-F16", "gguf-Q8_0"}
    assert len(list(read_rows(tmp_path / "whole" / "golden.jsonl"))) == 8

    opened = llama.open_file

    def interrupted(path: Path, **settings: Any) -> Any:
        if "q8_0" in path.name:
            raise KeyboardInterrupt
        return opened(path, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(llama, "open_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run("again")
    assert (tmp_path / "again" / "candidates" / "gguf-F16.json").is_file()
    # What a kill leaves between the answers and the removal of the shards they were made of.
    write_rows(tmp_path / "again" / "shards" / "base" / "0000.jsonl", [{"left": "behind"}])
    run("again")
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ messages[0]['content'] }}", "prompt text differs at character 0"),
        ("{{ bos_token }}WHOLE", "the begin token 0 is doubled"),
        ("{{ raise_exception('not today') }}", "refuses the conversation: not today"),
    ],
)
def test_a_wrong_template_is_named(run, tiny_llama, tiny_candidates, edited_gguf, tmp_path, template, words):
    template = template.replace("WHOLE", (tiny_llama / "chat_template.jinja").read_text())
    file = edited_gguf(tiny_candidates.path / "model-f16.gguf", template=template)
    with pytest.raises(IntegrityError, match=words):
        run("out", only(tiny_candidates, file, tmp_path / "edited"))
    found = json.loads((tmp_path / "out" / "measurements.json").read_text())
    assert not found["candidates"][0]["chosen"]
    assert words in found["candidates"][0]["rejected_because"][0]
    assert found["budgets"] == []
    names = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert "parity/gguf-F16.jsonl" in names
    assert not names & {"candidates/gguf-F16.json", "answers/gguf-F16.jsonl"}, "a rerun must look again"


def test_a_begin_token_that_the_student_never_saw_is_named(run, tiny_llama, tiny_candidates, edited_gguf, tmp_path):
    """The same template on both sides, and a file that says BOS is to be added."""
    template = "{% for message in messages %}{{ message['content'] }}: {% endfor %}"
    student = tmp_path / "student"
    shutil.copytree(tiny_llama, student)
    (student / "chat_template.jinja").write_text(template)
    file = edited_gguf(tiny_candidates.path / "model-f16.gguf", template=template, adds_bos=True)
    with pytest.raises(IntegrityError, match="puts a begin token 0 before the prompt"):
        run("out", only(tiny_candidates, file, tmp_path / "edited"), student=student)


def test_a_tokenizer_that_composes_unicode_passes_and_is_told_of(run, tiny_llama, tmp_path, monkeypatch):
    """As that of Qwen2 does. The candidates are the same model's: GGUF cannot say that text is to be composed."""
    student = shutil.copytree(tiny_llama, tmp_path / "student")
    tokenizer = json.loads((student / "tokenizer.json").read_text())
    (student / "tokenizer.json").write_text(json.dumps({**tokenizer, "normalizer": {"type": "NFC"}}))
    # Ten cases: with fewer, the odd one with loose accents is left out.
    monkeypatch.setitem(globals(), "CONFIG", CONFIG.model_copy(update={"golden_cases": 10}))
    found = run("out", student=student).read()
    assert [line["parity"]["passed"] for line in found["candidates"]] == [True, True]
    assert "composed (NFC)" in found["conditions"]["unicode"]
    asked = {case["id"]: case["messages"][-1]["content"] for case in read_rows(tmp_path / "out" / "golden.jsonl")}
    # One letter and one accent are now one character: e\u0301 became \u00e9.
    assert len(asked["unicode"]) == len(golden.UNICODE) - 1 and "\u00e9" in asked["unicode"]


def test_weights_of_another_model_are_named(run, other_llama, tiny_candidates, tmp_path):
    """The golden cases are the other model's."""
    first = next(iter(tiny_candidates.rows()))
    candidates = only(tiny_candidates, tiny_candidates.path / first.file, tmp_path / "f16")
    with pytest.raises(IntegrityError, match="weights in the file are not the student's"):
        run("out", candidates, student=other_llama)
    found = json.loads((tmp_path / "out" / "measurements.json").read_text())["candidates"][0]
    assert found["parity"]["token_ids"] == found["parity"]["cases"]
    assert found["kl_mean"] > 0.02


def test_what_cannot_keep_a_budget_is_not_evaluated_and_says_why(run, tiny_candidates, tmp_path):
    """The F16 file has 2.6 MiB, the Q8_0 one 1.4."""
    budgets = Budgets(package_mib=2, accuracy_drop=1)
    measured = run("out", budgets=budgets)
    found = {line["quant"]: CandidateLine(**line) for line in measured.read()["candidates"]}
    assert found["F16"].parity is None and found["F16"].accuracy is None
    assert found["F16"].rejected_because == ("the file has 2.6 MiB, the budget is 2.0 MiB; not evaluated",)
    assert found["F16"].latency is not None and found["F16"].latency.evidence == "predicted"
    assert found["Q8_0"].chosen
    assert not (tmp_path / "out" / "answers" / "gguf-F16.jsonl").exists()
    assert measured.summary == "1 of 1 candidates pass parity, Q8_0 chosen; 1 not evaluated"


def test_options_and_grammar_are_second_figures_beside_the_written_answers(run, counting_task, tmp_path):
    """Random weights write nothing of use, but the grammar lets them answer with a digit only."""
    rows = [{"id": f"t{n}", "question": f"Which?\n(A) {n}\n(B) none", "answer": "(A)"} for n in range(6)]
    write_rows(counting_task.path / "test.jsonl", rows)
    about = counting_task.path / "task.yaml"
    about.write_text(f"{about.read_text()}grammar: answer.gbnf\n")
    (counting_task.path / "answer.gbnf").write_text('root ::= "<ans>(" [AB] ")</ans>"')
    line = CandidateLine(**run("out", task=load_task(counting_task.path), max_tokens=16).read()["candidates"][0])
    assert line.accuracy is not None
    ways = line.accuracy.ways
    assert {name: way.n for name, way in ways.items()} == {"generation": 6, "likelihood": 6, "grammar": 6}
    assert line.accuracy.value == ways["generation"].value and line.accuracy.format_rate == 0
    assert ways["likelihood"].drop is not None and ways["grammar"].drop is None
    within = [row["text"] for row in read_rows(tmp_path / "out" / "answers" / "gguf-F16.grammar.jsonl")]
    assert set(within) <= {"<ans>(A)</ans>", "<ans>(B)</ans>"} and len(within) == 6
    chosen = [row["right"] for row in read_rows(tmp_path / "out" / "answers" / "gguf-F16.likelihood.jsonl")]
    assert sum(chosen) / 6 == pytest.approx(ways["likelihood"].value, abs=1e-6)


def test_on_this_machine_times_and_memory_are_measured(run, tiny_candidates, tmp_path, monkeypatch):
    monkeypatch.setattr(latency, "RUNS", 4)
    first = next(iter(tiny_candidates.rows()))
    candidates = only(tiny_candidates, tiny_candidates.path / first.file, tmp_path / "f16")
    host = target.load("host")
    found = run("out", candidates, device=host, budgets=host.budgets).read()
    line = CandidateLine(**found["candidates"][0])
    assert line.latency is not None and line.latency.evidence == "measured"
    assert line.latency.conditions["where"] == "local"
    first_token = line.latency.first_token_ms
    assert first_token.p90 is not None and 0 < first_token.p50 <= first_token.p90
    assert line.memory_mib is not None and line.memory_mib.peak > 20
    verdicts = {budget["name"]: budget["verdict"] for budget in found["budgets"]}
    assert verdicts["memory_mib"] == "met"


def test_on_a_busy_machine_the_build_says_how_to_measure_again(counting_task, tmp_path, monkeypatch, capsys):
    raw = latency.Raw([10.0] * 4, [50.0] * 4, [100.0] * 4, [9] * 4, 80.0, 30.0, 1.5, 0.0)
    monkeypatch.setattr(latency, "measure", lambda *_, **__: raw)
    candidate = Candidate("gguf", "F16", "model.gguf", 1, "", {}, 16.0, 1, 1)
    questions = accuracy.of([counting_task], 8)
    module._measured(tmp_path / "model.gguf", candidate, questions.conversations, target.load("host"), CONFIG.context)
    said = capsys.readouterr().err
    assert "warning: F16: other processes kept 1.5 cores busy before the runs" in said
    assert "`--fresh validate`" in said


def test_a_noisy_machine_is_named():
    raw = latency.Raw([10.0, 30.0, 50.0, 70.0], [50.0] * 4, [100.0] * 4, [9] * 4, 80.0, 30.0, 1.5, 0.0)
    found = latency.measured_lines(raw, {"where": "local", "cores": 2}, 1)["latency"]["conditions"]["noisy"]
    assert "other processes kept 1.5 cores busy before the runs" in found
    assert "repeats of first token spread over 75% of the median" in found


def test_a_file_that_was_damaged_after_its_export_is_not_even_opened(run, tiny_candidates, tmp_path):
    """One bit, in the middle of the weights."""
    candidates = only(tiny_candidates, tiny_candidates.path / "model-f16.gguf", tmp_path / "flipped")
    file = candidates.path / "model-f16.gguf"
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 4
    file.unlink()
    file.write_bytes(raw)
    with pytest.raises(IntegrityError, match="was damaged or changed after it was exported"):
        run("out", candidates)


def test_candidates_are_described_as_packaged(tiny_candidates):
    assert {c.quant for c in tiny_candidates.rows()} == {"F16", "Q8_0"}
    assert all(isinstance(c, Candidate) for c in tiny_candidates.rows())
