"""Real candidates of a tiny model through the whole stage, and every way in which a file can be wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from edgedistill import accuracy, golden, latency, perplexity, target, yaml_file
from edgedistill.artifacts import Candidate, Candidates, Measurements
from edgedistill.engines import llama
from edgedistill.errors import CannotRun, IntegrityError
from edgedistill.exporters import gguf
from edgedistill.files import read_rows, sha256_of, write_rows
from edgedistill.models import Model
from edgedistill.recipe import Budgets
from edgedistill.report.schema import BudgetLine, CandidateLine, StudentLine
from edgedistill.sections import TextConfig, ValidateConfig
from edgedistill.stages import validate as module
from edgedistill.target import Target
from edgedistill.task import Task
from edgedistill.task import load as load_task

CONFIG = ValidateConfig(max_tokens=8, context=512)
RPI5 = target.load("rpi5")


@pytest.fixture
def run(judged, tiny_llama, other_llama, tiny_candidates, counting_task, tmp_path, monkeypatch) -> Any:
    """(out, candidates=…, student=…, target=…, budgets=…) -> Measurements"""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(
        out: str,
        candidates: Candidates = tiny_candidates,
        student: Path = tiny_llama,
        device: Target = RPI5,
        budgets: Budgets = RPI5.budgets,
        task: Task | None = counting_task,
        text: perplexity.Text | None = None,
        max_tokens: int = CONFIG.max_tokens,
    ) -> Measurements:
        folder = tmp_path / out
        folder.mkdir(exist_ok=True)
        models = Model(student, "tuned"), Model(other_llama, "base")
        config = CONFIG.model_copy(update={"max_tokens": max_tokens})
        tasks = [task] if task else []
        return judged(folder, candidates, *models, tasks, text, device, budgets, config)

    return run


def only(candidates: Candidates, file: Path, folder: Path) -> Candidates:
    """A set of candidates of one file that stands in for the F16 one."""
    folder.mkdir()
    first = next(iter(candidates.rows()))
    (folder / file.name).symlink_to(file)
    write_rows(folder / "candidates.jsonl", [asdict(replace(first, file=file.name, sha256=sha256_of(file)))])
    return Candidates(folder, "edited")


def exported(model: Path, folder: Path, *quants: object) -> Candidates:
    """Real candidates of another model."""
    folder.mkdir()
    config = gguf.Config.model_validate({"quants": quants})
    made = gguf.export(folder, Model(model, "other"), config)
    write_rows(folder / "candidates.jsonl", [asdict(candidate) for candidate in made])
    return Candidates(folder, "other")


def nudged(model: Path, folder: Path) -> Path:
    """A sibling: each matrix is moved by 0.3% of its spread. Its answers are those of the model, but for some."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(model, folder)
    random = torch.Generator().manual_seed(1)
    tensors = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
    for tensor in tensors.values():
        if tensor.dim() > 1:
            tensor.add_(0.003 * tensor.std() * torch.randn(tensor.shape, generator=random))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def a_step_on(model: Path, folder: Path) -> Path:
    """The next checkpoint: one step of training on a sentence."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shutil.copytree(model, folder)
    trained = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(model)("turn off the light in the kitchen", return_tensors="pt").input_ids
    trained(ids, labels=ids).loss.backward()
    torch.optim.AdamW(trained.parameters(), lr=3e-4).step()
    trained.save_pretrained(folder)
    return folder


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
        assert line.parity.cases == line.parity.prompt_text == line.parity.token_ids == 24
        assert line.latency is not None and line.latency.evidence == "predicted"
        assert line.accuracy is not None and line.accuracy.n == 6
    budgets = {budget["name"]: BudgetLine(**budget) for budget in found["budgets"]}
    assert budgets["decode_tok_s"].verdict == budgets["first_token_ms"].verdict == "unproven"
    assert budgets["package_mib"].verdict == "met"
    answers = {path.stem for path in (tmp_path / "whole" / "answers").iterdir()}
    assert answers == {"base", "tuned", "gguf-F16", "gguf-Q8_0"}
    assert len(list(read_rows(tmp_path / "whole" / "golden.jsonl"))) == 24

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
    with pytest.raises(IntegrityError, match=words) as caught:
        run("out", only(tiny_candidates, file, tmp_path / "edited"))
    assert str(tmp_path / "out" / "parity") in caught.value.hint and "`--fresh evaluate`" in caught.value.hint
    found = json.loads((tmp_path / "out" / "device" / "measurements.json").read_text())
    assert not found["candidates"][0]["chosen"]
    assert words in found["candidates"][0]["rejected_because"][0]
    assert found["budgets"] == []
    assert (tmp_path / "out" / "parity" / "gguf-F16.jsonl").is_file()


def test_a_begin_token_that_the_student_never_saw_is_named(run, tiny_llama, tiny_candidates, edited_gguf, tmp_path):
    """The same template on both sides, and a file that says BOS is to be added."""
    template = "{% for message in messages %}{{ message['content'] }}: {% endfor %}"
    student = tmp_path / "student"
    shutil.copytree(tiny_llama, student)
    (student / "chat_template.jinja").write_text(template)
    file = edited_gguf(tiny_candidates.path / "model-f16.gguf", template=template, adds_bos=True)
    with pytest.raises(IntegrityError, match="puts a begin token 0 before the prompt"):
        run("out", only(tiny_candidates, file, tmp_path / "edited"), student=student)


def test_a_tokenizer_that_composes_unicode_passes_and_is_told_of(run, tiny_llama, tmp_path):
    """As that of Qwen2 does. The candidates are the same model's: GGUF cannot say that text is to be composed."""
    student = shutil.copytree(tiny_llama, tmp_path / "student")
    tokenizer = json.loads((student / "tokenizer.json").read_text())
    (student / "tokenizer.json").write_text(json.dumps({**tokenizer, "normalizer": {"type": "NFC"}}))
    found = run("out", student=student).read()
    assert [line["parity"]["passed"] for line in found["candidates"]] == [True, True]
    assert "composed (NFC)" in found["conditions"]["unicode"]
    asked = {case["id"]: case["messages"][-1]["content"] for case in read_rows(tmp_path / "out" / "golden.jsonl")}
    # One letter and one accent are now one character: e\u0301 became \u00e9.
    assert len(asked["unicode"]) == len(golden.UNICODE) - 1 and "\u00e9" in asked["unicode"]


def test_a_template_that_refuses_system_prompts_is_told_of_and_other_cases_take_their_place(
    run, tiny_llama, tiny_candidates, edited_gguf, counting_task, tmp_path
):
    """As Gemma's. Ten validation items are too few for 24 cases, so general prompts fill them up."""
    refuses = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    student = shutil.copytree(tiny_llama, tmp_path / "student")
    template = refuses + (student / "chat_template.jinja").read_text()
    (student / "chat_template.jinja").write_text(template)
    rows = list(read_rows(counting_task.path / "validation.jsonl"))[:10]
    write_rows(counting_task.path / "validation.jsonl", rows)
    file = edited_gguf(tiny_candidates.path / "model-f16.gguf", template=template)
    candidates, task = only(tiny_candidates, file, tmp_path / "edited"), load_task(counting_task.path)
    found = run("out", candidates, student=student, task=task).read()
    assert found["candidates"][0]["parity"]["passed"]
    assert found["conditions"]["golden_cases"] == 24
    assert found["conditions"]["golden_left_out"] == "system, system-turns"
    ids = [case["id"] for case in read_rows(tmp_path / "out" / "golden.jsonl")]
    assert sum(name.startswith("question-") for name in ids) == 10 and "general-10" in ids


def test_weights_of_another_model_are_named(run, other_llama, tiny_candidates, tmp_path):
    """The golden cases are the other model's."""
    first = next(iter(tiny_candidates.rows()))
    candidates = only(tiny_candidates, tiny_candidates.path / first.file, tmp_path / "f16")
    with pytest.raises(IntegrityError, match="weights in the file are not the student's"):
        run("out", candidates, student=other_llama)
    found = json.loads((tmp_path / "out" / "device" / "measurements.json").read_text())["candidates"][0]
    assert found["parity"]["token_ids"] == found["parity"]["cases"]
    assert found["kl_mean"] > 0.02


def test_a_file_that_its_runtime_cannot_load_is_rejected_alone(run, tiny_candidates, tmp_path):
    """The F16 file lost its end after it was listed with that hash: an exporter that writes such files."""
    folder = shutil.copytree(tiny_candidates.path, tmp_path / "cut")
    file = folder / "model-f16.gguf"
    file.write_bytes(file.read_bytes()[:-5000])
    rows = [{**row, "sha256": sha256_of(folder / row["file"])} for row in read_rows(folder / "candidates.jsonl")]
    write_rows(folder / "candidates.jsonl", rows)
    cut, whole = (CandidateLine(**line) for line in run("out", Candidates(folder, "cut")).read()["candidates"])
    assert cut.parity is not None and not cut.parity.passed and cut.accuracy is None
    assert "model-f16.gguf" in cut.rejected_because[0]
    assert whole.chosen and whole.accuracy is not None
    assert not (tmp_path / "out" / "candidates" / "gguf-F16.json").exists(), "a rerun must look again"


def test_a_file_that_its_runtime_cannot_run_is_rejected_alone(run, tiny_candidates, monkeypatch):
    """As where there is no room for its cache: the first call that decodes anything."""
    from edgedistill.ml import llama_runtime

    made = llama_runtime.Sequences.__init__

    def without_room(self: Any, weights: Any, *arguments: Any, **options: Any) -> None:
        if "f16" in weights.path.name:
            raise CannotRun("llama.cpp cannot make room for 24 sequences of 512 tokens")
        made(self, weights, *arguments, **options)

    loaded = llama_runtime.Weights.__init__

    def remembering(self: Any, path: Path) -> None:
        self.path = path
        loaded(self, path)

    monkeypatch.setattr(llama_runtime.Weights, "__init__", remembering)
    monkeypatch.setattr(llama_runtime.Sequences, "__init__", without_room)
    first, second = run("out").read()["candidates"]
    assert "cannot make room" in first["rejected_because"][0]
    assert second["chosen"]


def test_a_smaller_vocabulary_is_named_and_the_students_ids_are_not_fed_to_it(run, tiny_llama, tmp_path):
    """Ten tokens fewer than the student has: its ids would lie outside."""
    model = smaller(tiny_llama, tmp_path / "smaller")
    with pytest.raises(IntegrityError, match="token ids differ at position"):
        run("out", exported(model, tmp_path / "gguf", "F16"))
    found = json.loads((tmp_path / "out" / "device" / "measurements.json").read_text())["candidates"][0]
    assert found["kl_mean"] is None and found["parity"]["answer_kl_mean"] is None
    assert found["accuracy"]["n"] == 6, "its free answers show what the fault does"


def test_a_smaller_vocabulary_does_not_read_the_students_text(run, tiny_llama, tmp_path):
    model = smaller(tiny_llama, tmp_path / "smaller")
    text = perplexity.open_text(TextConfig(tokens=128), tmp_path)
    with pytest.raises(IntegrityError, match="token ids differ at position"):
        run("out", exported(model, tmp_path / "gguf", "F16"), task=None, text=text)
    found = json.loads((tmp_path / "out" / "device" / "measurements.json").read_text())["candidates"][0]
    assert found["text"] is None and found["kl_mean"] is None


def smaller(model: Path, folder: Path) -> Path:
    """The same model without the last tokens of its vocabulary."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(model, folder)
    rows = 310
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    kept = {token: number for token, number in tokenizer["model"]["vocab"].items() if number < rows}
    merges = [pair for pair in tokenizer["model"]["merges"] if "".join(pair) in kept]
    tokenizer["model"] |= {"vocab": kept, "merges": merges}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": rows}))
    tensors = load_file(folder / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = tensors[name][:rows].clone()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_four_bits_of_a_sibling_are_caught_by_the_float_file_they_were_made_from(run, tmp_path):
    """It is no candidate: the recipe lists Q4_0 alone. The student is one training step further."""
    model = yaml_file.shipped("recipes") / "quickstart" / "models" / "student"
    candidates = exported(model, tmp_path / "gguf", {"quant": "Q4_0", "imatrix": False})
    with pytest.raises(IntegrityError, match="the F16 file of the same export fails: case"):
        run("out", candidates, student=a_step_on(model, tmp_path / "sibling"))
    assert (tmp_path / "out" / "parity" / "gguf-F16.jsonl").is_file()
    found = json.loads((tmp_path / "out" / "device" / "measurements.json").read_text())["candidates"]
    assert [line["quant"] for line in found] == ["Q4_0-plain"]


def test_a_float_file_that_is_too_large_to_ship_is_checked_all_the_same(run, tiny_llama, tmp_path):
    """Q8_0 itself is within its limits, and passes where the export is right."""
    budgets = Budgets(package_mib=2, accuracy_drop=1)
    with pytest.raises(IntegrityError, match="the F16 file of the same export fails"):
        run("out", student=nudged(tiny_llama, tmp_path / "sibling"), budgets=budgets)
    q8 = list(read_rows(tmp_path / "out" / "parity" / "gguf-Q8_0.jsonl"))
    assert not any(row["difference"] for row in q8)


def test_what_cannot_keep_a_budget_is_not_evaluated_and_says_why(run, tiny_candidates, tmp_path):
    """The F16 file has 2.6 MiB, the Q8_0 one 1.4."""
    budgets = Budgets(package_mib=2, accuracy_drop=1)
    measured = run("out", budgets=budgets)
    assert all(not row["difference"] for row in read_rows(tmp_path / "out" / "parity" / "gguf-F16.jsonl"))
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
    module.timed(tmp_path / "model.gguf", candidate, questions.conversations, target.load("host"), CONFIG.context)
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
