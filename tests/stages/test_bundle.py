"""The stage on hand-written measurements; the model file is any bytes, because the bundle only carries it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edgedistill import bundle_manifest, bundle_texts, models, publishing, task
from edgedistill.artifacts import Bundle, Candidate, Candidates, Measurements
from edgedistill.build import Built
from edgedistill.commands import build as command
from edgedistill.errors import IntegrityError, UsageError
from edgedistill.files import sha256_of, sha256_of_all, write_json, write_rows, write_text
from edgedistill.models import Model
from edgedistill.report import assemble
from edgedistill.report.lineage import lineage_of
from edgedistill.sections import ModelConfig
from edgedistill.stages.bundle import bundle
from edgedistill.store import identity_of
from edgedistill.target import Target
from edgedistill.target import load as load_target
from edgedistill.toolchain.runtime import PROGRAMS, Runtime

TARGET = Target(name="board", title="Board 5", soc="4 cores", triple="aarch64-linux-musl", cpu="cortex_a76", threads=4)
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def a_task(folder: Path) -> task.Task:
    folder.mkdir(parents=True)
    (folder / "task.yaml").write_text(
        "kind: tagged_answer\ntitle: Lights\ndescription: Say which light.\nlicence: cc0-1.0\ngrammar: answer.gbnf\n"
    )
    (folder / "answer.gbnf").write_text('root ::= "on" | "off"\n')
    (folder / "LICENSE").write_text("public domain")
    for part in task.PARTS:
        rows = [{"id": f"{part}{n}", "question": f"{part} {n}", "answer": "on"} for n in range(3)]
        extra = {"rationale": "<ans>on</ans>"} if part == "seeds" else {}
        write_rows(folder / f"{part}.jsonl", [{**row, **extra} for row in rows])
    return task.load(folder)


def a_model(folder: Path, licence: str) -> Model:
    folder.mkdir(parents=True)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    write_json(folder / "tokenizer_config.json", {"eos_token": "<|im_end|>"})
    (folder / "LICENSE").write_text(f"text of {licence}")
    return Model(folder, f"{folder.name}-key", "hf", f"models/{folder.name}", licence)


@pytest.fixture
def given(tmp_path) -> dict[str, Any]:
    """Two candidates, Q4_0 chosen."""
    candidates = Candidates(tmp_path / "package", "package-key")
    candidates.path.mkdir()
    rows = []
    for quant in ("F16", "Q4_0"):
        file = candidates.path / f"model-{quant.lower()}.gguf"
        file.write_bytes(f"weights in {quant}".encode() * 100)
        size = file.stat().st_size
        rows.append(Candidate("gguf", quant, file.name, size, sha256_of(file), {quant: 3}, 4.5, 1000, size))
    write_rows(candidates.path / "candidates.jsonl", [asdict(row) for row in rows])
    measured = Measurements(tmp_path / "validate", "validate-key")
    lines = [{**asdict(row), "chosen": row.quant == "Q4_0", "rejected_because": []} for row in rows]
    lines[0]["rejected_because"] = ["larger than Q4_0"]
    lines[1]["accuracy"] = {"value": 0.865, "ci_low": 0.828, "ci_high": 0.895, "n": 400, "drop": 0.01}
    lines[1]["parity"] = {"cases": 24, "prompt_text": 24, "token_ids": 24, "greedy_text": 23, "passed": True}
    budget = {"name": "package_mib", "limit": 4, "value": 1.5, "unit": "MiB", "verdict": "met", "evidence": "file"}
    student = {"base_accuracy": 0.25, "tuned_accuracy": 0.875, "n": 400}
    conditions = {"context": 512, "max_tokens": 64}
    found = {"student": student, "candidates": lines, "budgets": [budget], "conditions": conditions}
    found["versions"] = {"llama-cpp-python": "0.3.36", "torch": "2.0 of the day of measuring"}
    write_json(measured.path / "measurements.json", found)
    write_rows(measured.golden, [{"messages": [{"role": "user", "content": "hi"}], "token_ids": [1, 2]}])
    return {
        "measured": measured,
        "candidates": candidates,
        "tuned": a_model(tmp_path / "tuned", "apache-2.0"),
        "teacher": a_model(tmp_path / "teacher", "mit"),
        "student": a_model(tmp_path / "student", "apache-2.0"),
        "tasks": [a_task(tmp_path / "lights")],
        "target": TARGET,
        "recipe": "demo",
    }


@pytest.fixture
def made(given, tmp_path) -> Bundle:
    return bundle.function(tmp_path / "out", **given)


def test_the_manifest_tells_by_what_its_target_is_known(given, tmp_path):
    given["target"] = load_target("orin-nano-8gb")
    told = bundle_manifest.read(bundle.function(tmp_path / "out", **given).folder).target
    assert told.backend == "gpu" and [(one.type, one.count) for one in told.cores] == [("Cortex-A78AE", 6)]


def test_it_holds_the_chosen_model_and_everything_around_it(made, given):
    names = {str(path.relative_to(made.folder)) for path in made.folder.rglob("*") if path.is_file()}
    assert names == {
        "manifest.json",
        "model.gguf",
        "chat_template.jinja",
        "sampling.json",
        "grammar.gbnf",
        "golden.jsonl",
        "run.sh",
        "Modelfile",
        "MODEL_CARD.md",
        "LICENSES/README.md",
        "LICENSES/teacher-LICENSE",
        "LICENSES/student-LICENSE",
        "LICENSES/lights-LICENSE",
    }
    assert (made.folder / "model.gguf").read_bytes() == (given["candidates"].path / "model-q4_0.gguf").read_bytes()
    assert (made.folder / "chat_template.jinja").read_text() == TEMPLATE
    assert made.summary == "gguf Q4_0, 0.0 MB, 12 files"


def test_a_teacher_on_a_server_is_named_with_what_is_not_known_of_it(given, tmp_path):
    config = ModelConfig(model="big", engine="openai", base_url="https://example.com/v1", api_key_env="TEACHER_KEY")
    teacher = models.resolve(config, tmp_path, "teacher")
    made = bundle.function(tmp_path / "out", **{**given, "teacher": teacher})
    origin = bundle_manifest.open_bundle(made.folder).lineage.teacher
    assert (origin.name, origin.licence, origin.sha256) == ("big at https://example.com/v1", "unknown", "")
    assert lineage_of(made)["teacher"] == "big at https://example.com/v1, licence unknown, weights not seen"
    licences = (made.folder / "LICENSES/README.md").read_text()
    assert "- teacher: big at https://example.com/v1: unknown; a server does not state it" in licences
    assert not (made.folder / "LICENSES/teacher-LICENSE").exists()
    assert "| unknown | not seen: it answered on a server |" in (made.folder / "MODEL_CARD.md").read_text()
    assert "TEACHER_KEY" not in "".join(p.read_text(errors="replace") for p in made.folder.rglob("*") if p.is_file())


def test_the_manifest_says_where_it_all_comes_from(made, given):
    manifest = bundle_manifest.open_bundle(made.folder)
    assert manifest.name == "demo-board"
    assert manifest.lineage.teacher.licence == "mit" and manifest.lineage.teacher.sha256 == "teacher-key"
    assert manifest.lineage.data[0].files == given["tasks"][0].identity()["files"]
    assert manifest.chosen["quant"] == "Q4_0" and manifest.conditions["max_tokens"] == 64
    assert manifest.versions["llama-cpp-python"] == "0.3.36"
    assert manifest.versions["torch"] == "2.0 of the day of measuring"
    assert set(manifest.files) == {
        str(p.relative_to(made.folder)) for p in made.folder.rglob("*") if p.is_file() and p.name != "manifest.json"
    }
    assert made.manifest()["schema"] == "edgedistill.bundle/1"


def test_the_same_inputs_give_the_same_bytes_in_another_place(made, given, tmp_path):
    again = bundle.function(tmp_path / "elsewhere" / "deeper", **given)
    assert (again.folder / "manifest.json").read_bytes() == (made.folder / "manifest.json").read_bytes()
    assert str(tmp_path) not in "".join(p.read_text(errors="replace") for p in made.folder.rglob("*") if p.is_file())


def test_a_folder_of_licences_is_not_taken_for_a_licence(given, tmp_path):
    (given["teacher"].path / "LICENSES").mkdir()
    made = bundle.function(tmp_path / "out", **given)
    assert not (made.folder / "LICENSES" / "teacher-LICENSES").exists()


def test_the_card_shows_accuracy_verdict_and_licences(made):
    card = (made.folder / "MODEL_CARD.md").read_text()
    accuracy = ("0.250", "0.875", "0.865 (95%: 0.828 to 0.895)", "answer as the float student in 23")
    for part in (*accuracy, "| package_mib | 4 | 1.5 | MiB | met | file |", "models/teacher", "mit", "cc0-1.0"):
        assert part in card


def test_run_sh_starts_the_server_with_the_bundles_own_settings(made, tmp_path):
    fake = tmp_path / "llama-server"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$PWD" "$@"\n')
    fake.chmod(0o755)
    command, environment = [str(made.folder / "run.sh"), "--port", "9000"], {**os.environ, "LLAMA_SERVER": str(fake)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    where, *options = said.stdout.splitlines()
    assert Path(where) == made.folder
    pairs = " ".join(options)
    for wanted in ("--model model.gguf", "--ctx-size 512", "--threads 4", "--temp 0", "--jinja", "--port 9000"):
        assert wanted in pairs


@pytest.fixture
def a_runtime(tmp_path, monkeypatch) -> Runtime:
    """Shell scripts in the place of programs; the bundle only carries them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = Runtime("aarch64-linux-musl", "cortex_a76")
    made.folder.mkdir(parents=True)
    files = {}
    for name in PROGRAMS:
        path = made.folder / name
        path.write_text(f'#!/bin/sh\nprintf "%s\\n" "this is {name}" "$@"\n')
        path.chmod(0o755)
        files[name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    write_json(made.folder / "manifest.json", {"files": files})
    return made


def test_a_runtime_ships_with_the_model_and_run_sh_starts_it(given, a_runtime, tmp_path):
    made = bundle.function(tmp_path / "out", **given, runtime=a_runtime)
    shipped = publishing.publish(made.folder, tmp_path / "dist")
    listed = bundle_manifest.open_bundle(shipped).files
    names = {f"runtime/aarch64-linux-musl/{name}" for name in (*PROGRAMS, "manifest.json")}
    assert {name for name in listed if name.startswith("runtime/")} == names
    environment = {name: value for name, value in os.environ.items() if name != "LLAMA_SERVER"}
    said = subprocess.run(
        [shipped / "run.sh"], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert said.stdout.startswith("this is llama-server\n--model\nmodel.gguf\n")


def test_a_changed_runtime_does_not_ship(given, a_runtime, tmp_path):
    (a_runtime.folder / "llama-cli").write_text('#!/bin/sh\nprintf "%s\\n" "this is llama-bad" "$@"\n')
    with pytest.raises(IntegrityError, match="llama-cli"):
        bundle.function(tmp_path / "out", **given, runtime=a_runtime)


def test_another_runtime_is_another_bundle():
    one, other = Runtime("aarch64-linux-musl", "cortex_a76"), Runtime("aarch64-linux-musl", "cortex_a72")
    assert len({identity_of(value) for value in (one, other, None)}) == 3


def test_the_modelfile_renders_one_user_message_as_the_chat_template_does(made):
    text = (made.folder / "Modelfile").read_text()
    template = text.split('TEMPLATE """')[1].split('"""')[0]
    assert template.replace("{{ .Prompt }}", "hi") == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert "FROM ./model.gguf" in text and "PARAMETER num_ctx 512" in text


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[0].content | upper }}",  # changes the text
        "{{ messages[0].content }}{{ messages[0].content }}",
        "{{ raise_exception('no') }}",
        "{{ unknown.attribute }}",
        "{% broken",
        "{{ ''.__class__.__mro__ }}{{ messages[0].content }}",  # reaches for Python: the sandbox stops it
    ],
)
def test_a_template_that_does_more_is_not_translated(template, tmp_path):
    (tmp_path / "chat_template.jinja").write_text(template)
    write_json(tmp_path / "tokenizer_config.json", {})
    assert bundle_texts.prompt_parts(tmp_path) is None


def test_special_tokens_of_the_tokenizer_are_in_the_prompt_parts(tmp_path):
    (tmp_path / "chat_template.jinja").write_text("{{ bos_token }}[{{ messages[0].content }}]")
    write_json(tmp_path / "tokenizer_config.json", {"bos_token": {"content": "<s>"}})
    assert bundle_texts.prompt_parts(tmp_path) == ("<s>[", "]")


def test_without_a_chosen_candidate_every_reason_is_given(given, tmp_path):
    found = given["measured"].read()
    for line in found["candidates"]:
        line.update(chosen=False, rejected_because=[f"parity failed for {line['quant']}"])
    write_json(given["measured"].path / "measurements.json", found)
    with pytest.raises(IntegrityError, match=r"is fit to ship(.|\n)*F16: parity failed(.|\n)*Q4_0: parity"):
        bundle.function(tmp_path / "out", **given)


def test_a_model_file_that_changed_after_it_was_measured_is_refused(given, tmp_path):
    file = given["candidates"].path / "model-q4_0.gguf"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(IntegrityError, match="was measured"):
        bundle.function(tmp_path / "out", **given)
    assert not (tmp_path / "out" / "bundle" / "manifest.json").exists()


def test_every_flipped_byte_is_found_and_the_file_named(made):
    for path in sorted(p for p in made.folder.rglob("*") if p.is_file() and p.name != "manifest.json"):
        raw = path.read_bytes()
        path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        with pytest.raises(IntegrityError, match=f"{path.name}: sha256"):
            bundle_manifest.open_bundle(made.folder)
        path.write_bytes(raw)
    bundle_manifest.open_bundle(made.folder)


def test_a_missing_a_longer_and_a_foreign_file_are_named_at_once(made):
    (made.folder / "golden.jsonl").unlink()
    (made.folder / "sampling.json").write_text("{}")
    (made.folder / "LICENSES" / "extra.txt").write_text("x")
    with pytest.raises(IntegrityError) as found:
        bundle_manifest.open_bundle(made.folder)
    for problem in ("golden.jsonl: missing", "sampling.json: 2 bytes", "LICENSES/extra.txt: not in the manifest"):
        assert problem in found.value.problem


def test_a_link_in_place_of_a_file_is_found(made, tmp_path):
    (made.folder / "model.gguf").rename(tmp_path / "elsewhere.gguf")
    (made.folder / "model.gguf").symlink_to(tmp_path / "elsewhere.gguf")
    with pytest.raises(IntegrityError, match=r"model.gguf: a link"):
        bundle_manifest.open_bundle(made.folder)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b"])
def test_a_name_that_leads_out_of_the_bundle_is_found(name, made):
    manifest = made.manifest()
    manifest["files"][name] = {"bytes": 1, "sha256": "0" * 64}
    write_json(made.folder / "manifest.json", manifest)
    with pytest.raises(IntegrityError, match="a name that leads out of the bundle"):
        bundle_manifest.open_bundle(made.folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "edgedistill.bundle/2"}', json.dumps({"files": 3})])
def test_a_manifest_that_is_none_is_an_integrity_error(text, made):
    (made.folder / "manifest.json").write_text(text)
    with pytest.raises(IntegrityError, match=r"manifest.json is not"):
        bundle_manifest.open_bundle(made.folder)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path):
    with pytest.raises(UsageError, match="no bundle"):
        bundle_manifest.open_bundle(tmp_path)


def test_publishing_replaces_an_older_bundle_whole(made, given, tmp_path):
    dist = tmp_path / "dist"
    first = publishing.publish(made.folder, dist)
    (first / "golden.jsonl").unlink()
    assert publishing.publish(made.folder, dist) == first == dist / "demo-board"
    assert bundle_manifest.open_bundle(first).name == "demo-board"
    assert sorted(path.name for path in dist.iterdir()) == [".demo-board.lock", "demo-board"]
    assert os.access(first / "run.sh", os.X_OK)


def test_publishing_leaves_a_folder_alone_that_is_not_a_bundle(made, tmp_path):
    (tmp_path / "dist" / "demo-board").mkdir(parents=True)
    (tmp_path / "dist" / "demo-board" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="exists and is not a bundle"):
        publishing.publish(made.folder, tmp_path / "dist")
    assert (tmp_path / "dist" / "demo-board" / "thesis.txt").exists()


def test_a_bundle_that_cannot_be_published_leaves_its_report(made, given, tmp_path):
    dist, folder = tmp_path / "dist", tmp_path / "runs"
    (dist / "demo-board").mkdir(parents=True)
    built = Built(given["measured"], made)
    line = command._bundle_line(built, dist)
    report = assemble.assemble(
        recipe="demo", target="board", build_id="now", started=datetime.now(UTC), seconds=1, steps=[], measured={},
        bundle=line,
    )  # fmt: skip
    with pytest.raises(UsageError, match="is not a bundle"):
        command._save_and_ship(report, built, folder, dist, is_measured_required=False)
    assert assemble.load(folder / "report.json").bundle == line
    (dist / "demo-board").rmdir()
    command._save_and_ship(report, built, folder, dist, is_measured_required=False)
    shipped = Path(line.path)
    assert line.bytes == sum(path.stat().st_size for path in shipped.rglob("*") if path.is_file())
    assert line.manifest_sha256 == sha256_of(shipped / "manifest.json")
    assert (dist / "demo-board.report.html").is_file()


def test_a_damaged_bundle_is_not_published(made, tmp_path):
    (made.folder / "model.gguf").write_bytes(b"short")
    with pytest.raises(IntegrityError):
        publishing.publish(made.folder, tmp_path / "dist")
    assert [path.name for path in (tmp_path / "dist").iterdir()] == [".demo-board.lock"]


def test_a_publishing_that_fails_half_way_leaves_the_older_bundle(made, tmp_path, monkeypatch):
    dist = tmp_path / "dist"
    first = publishing.publish(made.folder, dist)
    write_text(first / "mark", "the older one")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name.endswith(".new"):
            raise OSError("the disk has gone")
        return rename(self, target)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="the disk has gone"):
        patch.setattr(Path, "rename", failing)
        publishing.publish(made.folder, dist)
    assert (first / "mark").read_text() == "the older one"
    assert sorted(path.name for path in dist.iterdir()) == [".demo-board.lock", "demo-board"]


def test_what_a_killed_publishing_left_is_cleared_away(made, tmp_path):
    """Killed between the two renames, and once more before the older bundle was removed."""
    dist = tmp_path / "dist"
    first = publishing.publish(made.folder, dist)
    first.rename(dist / ".demo-board.old")
    (dist / ".demo-board.new").mkdir()
    (made.folder / "model.gguf").rename(tmp_path / "model.gguf")
    with pytest.raises(IntegrityError):
        publishing.publish(made.folder, dist)
    assert bundle_manifest.open_bundle(first).name == "demo-board", "the older one is back"
    assert sorted(path.name for path in dist.iterdir()) == [".demo-board.lock", "demo-board"]


def test_two_publish_one_after_the_other(made, tmp_path, monkeypatch):
    dist, said = tmp_path / "dist", []
    dist.mkdir()
    with (dist / ".demo-board.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def say(line: str) -> None:
            said.append(line)
            fcntl.flock(lock, fcntl.LOCK_UN)

        monkeypatch.setattr("edgedistill.locks.say", say)
        publishing.publish(made.folder, dist)
    assert said == [f"waiting: another process is working on {dist / 'demo-board'}"]


@pytest.fixture
def given_onnx(given) -> dict[str, Any]:
    """The chosen candidate is a folder."""
    candidates = given["candidates"]
    folder = candidates.path / "onnx_genai-int4"
    folder.mkdir()
    for name in ("model.onnx", "model.onnx.data", "genai_config.json", "tokenizer.json"):
        (folder / name).write_text(f"what {name} holds")
    row = Candidate("onnx_genai", "INT4", folder.name, 80, sha256_of_all(folder), {"INT4": 3}, 4.5, 1000, 70)
    write_rows(candidates.path / "candidates.jsonl", [asdict(row)])
    found = given["measured"].read()
    line = {**found["candidates"][1], **asdict(row), "chosen": True}
    versions = {**found["versions"], "onnxruntime-genai": "0.18.0"}
    write_json(given["measured"].path / "measurements.json", {**found, "candidates": [line], "versions": versions})
    return given


def test_a_model_of_several_files_ships_as_a_folder(given_onnx, tmp_path):
    made = bundle.function(tmp_path / "out", **given_onnx)
    names = {path.name for path in (made.folder / "onnx").iterdir()}
    assert names == {"model.onnx", "model.onnx.data", "genai_config.json", "tokenizer.json"}
    assert not (made.folder / "Modelfile").exists(), "Ollama runs GGUF only"
    assert 'runtime.Model("onnx")' in (made.folder / "run.sh").read_text()
    assert "onnxruntime-genai 0.18.0" in (made.folder / "MODEL_CARD.md").read_text()
    manifest = bundle_manifest.open_bundle(made.folder)
    assert manifest.model == "onnx" and "onnx/model.onnx.data" in manifest.files
    (made.folder / "onnx" / "model.onnx.data").write_text("what another data holds")
    with pytest.raises(IntegrityError, match=r"onnx/model\.onnx\.data: .* bytes, expected"):
        bundle_manifest.open_bundle(made.folder)


def test_a_file_of_a_folder_that_was_changed_after_measuring_does_not_ship(given_onnx, tmp_path):
    (given_onnx["candidates"].path / "onnx_genai-int4" / "genai_config.json").write_text("edited")
    with pytest.raises(IntegrityError, match="was measured"):
        bundle.function(tmp_path / "out", **given_onnx)
