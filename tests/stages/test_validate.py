"""Real candidates of a tiny model through the whole stage, and every way in which a file can be wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from edgedistill import accuracy, choice, golden, latency, target
from edgedistill.artifacts import Candidate, Candidates, Measurements
from edgedistill.engines import llama
from edgedistill.errors import IntegrityError
from edgedistill.files import read_rows, write_rows
from edgedistill.models import Model
from edgedistill.recipe import Budgets
from edgedistill.report.schema import BudgetLine, CandidateLine, StudentLine
from edgedistill.sections import ValidateConfig
from edgedistill.stages import validate as module
from edgedistill.target import Target

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
    ) -> Measurements:
        folder = tmp_path / out
        folder.mkdir(exist_ok=True)
        models = Model(student, "tuned"), Model(other_llama, "base")
        return module.validate.function(folder, candidates, *models, [counting_task], device, budgets, CONFIG, 5)

    return run


def only(candidates: Candidates, file: Path, folder: Path) -> Candidates:
    """A set of candidates of one file that stands in for the F16 one."""
    folder.mkdir()
    first = next(iter(candidates.rows()))
    (folder / file.name).symlink_to(file)
    write_rows(folder / "candidates.jsonl", [asdict(replace(first, file=file.name))])
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

    opened = llama.open_gguf

    def interrupted(path: Path, **settings: Any) -> Any:
        if "q8_0" in path.name:
            raise KeyboardInterrupt
        return opened(path, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(llama, "open_gguf", interrupted)
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
    module._measured(tmp_path / "model.gguf", candidate, questions, target.load("host"), CONFIG)
    said = capsys.readouterr().err
    assert "warning: F16: other processes kept 1.5 cores busy before the runs" in said
    assert "`--fresh validate`" in said


def candidate_line(quant: str, size: int, value: float, high: float, passed: bool = True) -> dict[str, Any]:
    conditions = {"where": "local", "runs": 20, "noisy": None}
    return {
        "format": "gguf",
        "quant": quant,
        "bytes": size * choice.MIB,
        "parity": {"passed": passed},
        "parity_difference": "" if passed else "case empty: …",
        "accuracy": {"value": value, "drop": 0.9 - value, "drop_ci_high": high, "n": 300},
        "latency": {
            "first_token_ms": {"p50": 40.0},
            "decode_tok_s": {"p50": 50.0},
            "evidence": "measured",
            "conditions": conditions,
        },
        "memory_mib": {"peak": 60.0, "evidence": "measured"},
    }


LIMITS = Budgets(accuracy_drop=0.02, decode_tok_s=10, package_mib=50)


def test_the_smallest_that_is_shown_not_to_be_worse_is_chosen():
    lines = [
        candidate_line("F16", 8, 0.9, 0.0126),
        candidate_line("Q8_0", 4, 0.9, 0.0126),
        candidate_line("Q4_K_M", 3, 0.89, 0.03),
        candidate_line("Q4_0", 2, 0.9, 0.0126, passed=False),
    ]
    chosen = choice.choose(lines, LIMITS)
    assert [line["chosen"] for line in chosen] == [False, True, False, False]
    assert chosen[0]["rejected_because"] == ["larger than gguf Q8_0, which keeps the limits too"]
    assert chosen[2]["rejected_because"] == ["accuracy may be 0.030 below the float student's, the limit is 0.020"]
    assert chosen[3]["rejected_because"] == ["parity: case empty: …"]
    assert chosen[1]["rejected_because"] == []


def test_if_none_is_good_enough_the_most_accurate_is_chosen():
    lines = [candidate_line("Q8_0", 4, 0.86, 0.06), candidate_line("Q4_0", 2, 0.8, 0.12)]
    assert [line["chosen"] for line in choice.choose(lines, LIMITS)] == [True, False]


def test_none_is_chosen_when_none_passes_parity():
    assert not choice.choose([candidate_line("F16", 4, 0.9, 0.01, passed=False)], LIMITS)[0]["chosen"]


@pytest.mark.parametrize(
    ("changes", "name", "verdict"),
    [
        ({}, "decode_tok_s", "met"),
        ({"decode_tok_s": 9.0}, "decode_tok_s", "missed"),
        ({"evidence": "predicted"}, "decode_tok_s", "unproven"),
        ({"decode_tok_s": 9.0, "noisy": "others"}, "decode_tok_s", "unproven"),
        ({"noisy": "others"}, "decode_tok_s", "met"),
        ({"value": 0.89, "high": 0.025}, "accuracy_drop", "unproven"),
        ({"value": 0.85, "high": 0.09}, "accuracy_drop", "missed"),
        ({}, "accuracy_drop", "met"),
    ],
)
def test_verdicts(changes, name, verdict):
    line = candidate_line("Q8_0", 4, changes.get("value", 0.9), changes.get("high", 0.0126))
    line["latency"]["decode_tok_s"]["p50"] = changes.get("decode_tok_s", 50.0)
    line["latency"]["evidence"] = changes.get("evidence", "measured")
    line["latency"]["conditions"]["noisy"] = changes.get("noisy")
    graded = {budget["name"]: budget for budget in choice.grade(line, LIMITS)}
    assert graded[name]["verdict"] == verdict
    BudgetLine(**graded[name])


def test_a_noisy_machine_is_named():
    raw = latency.Raw([10.0, 30.0, 50.0, 70.0], [50.0] * 4, [100.0] * 4, [9] * 4, 80.0, 30.0, 1.5, 0.0)
    found = latency.measured_lines(raw, {"where": "local", "cores": 2}, 1)["latency"]["conditions"]["noisy"]
    assert "other processes kept 1.5 cores busy before the runs" in found
    assert "repeats of first token spread over 75% of the median" in found


def test_candidates_are_described_as_packaged(tiny_candidates):
    assert {c.quant for c in tiny_candidates.rows()} == {"F16", "Q8_0"}
    assert all(isinstance(c, Candidate) for c in tiny_candidates.rows())
