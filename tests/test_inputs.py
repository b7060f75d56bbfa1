"""Tasks and models of a recipe are opened together: one message has the problems of all."""

from __future__ import annotations

import json
import shutil

import pytest

from edgedistill import build, contest, inputs, recipe, target, task, yaml_file
from edgedistill.errors import UsageError
from edgedistill.store import Store

RECIPE = """
title: a test
tasks: [home, garden]
teacher: {model: ./teacher}
student: {model: ./student}
distill: {method: sft}
package: {exporter: gguf}
"""


def a_task(folder, validation=5):
    folder.mkdir()
    (folder / "task.yaml").write_text("kind: tagged_answer\ntitle: t\ndescription: d\nlicence: cc0-1.0\n")
    for part, count in (("seeds", 3), ("validation", validation), ("test", 2)):
        rows = [json.dumps({"id": f"{n}", "question": f"q {n}", "answer": "a"}) for n in range(count)]
        (folder / f"{part}.jsonl").write_text("\n".join(rows))


def made(folder, text=RECIPE):
    (folder / "small.yaml").write_text(text)
    return recipe.load(str(folder / "small.yaml"))


@pytest.mark.parametrize("open_them", [inputs.open_all, inputs.check])
def test_problems_of_all_come_in_one_message(tmp_path, open_them):
    a_task(tmp_path / "home")
    (tmp_path / "home" / "test.jsonl").unlink()
    (tmp_path / "student").mkdir()
    with pytest.raises(UsageError) as caught:
        open_them(made(tmp_path))
    assert caught.value.problem.startswith("recipe `small` cannot be built\n")
    for line in ("test.jsonl: missing", "garden has no task.yaml", "teacher.model: folder", "no config.json"):
        assert line in caught.value.problem
    assert "a task is task.yaml plus three .jsonl files" in caught.value.hint
    assert "give a folder, or a hub id" in caught.value.hint


def test_one_problem_is_told_as_it_is(tmp_path, tiny_llama):
    a_task(tmp_path / "home")
    text = RECIPE.replace("./teacher", str(tiny_llama)).replace("./student", str(tiny_llama))
    with pytest.raises(UsageError, match=r"^task folder .*garden has no task\.yaml$"):
        inputs.open_all(made(tmp_path, text))


def test_an_exam_longer_than_the_validation_items_is_refused(tmp_path, tiny_llama):
    a_task(tmp_path / "home", validation=10)
    a_task(tmp_path / "garden", validation=9)
    text = RECIPE.replace("./teacher", str(tiny_llama)).replace("./student", str(tiny_llama))
    with pytest.raises(UsageError, match=r"^prefer\.exam_size: 10, but task `garden` has 9 items in "):
        inputs.open_all(made(tmp_path, text + "prefer: {exam_size: 10}\nalign: {}\n"))


def test_a_student_with_a_context_too_short_for_one_example_is_refused(tmp_path, tiny_llama):
    """1,024 positions, of which the answer may take 1,000."""
    for name in ("home", "garden"):
        a_task(tmp_path / name, validation=10)
    text = RECIPE.replace("./teacher", str(tiny_llama)).replace("./student", str(tiny_llama))
    prefer = "prefer: {exam_size: 10, max_tokens: 1000}\nalign: {}\n"
    with pytest.raises(UsageError, match=r"^student: its context of 1,024 tokens is too short for task `home`"):
        inputs.open_all(made(tmp_path, text + prefer))


def test_respondents_are_opened_when_the_exam_needs_them(tmp_path, tiny_llama):
    prefer = f"prefer: {{exam: %s, respondents: [{{model: {tiny_llama}}}, {{model: ./nowhere}}]}}\nalign: {{}}\n"
    assert inputs.respondents(made(tmp_path, RECIPE + prefer % "stratified")) == []
    with pytest.raises(UsageError, match=r"^prefer\.respondents\.1\.model: folder .*nowhere does not exist"):
        inputs.respondents(made(tmp_path, RECIPE + prefer % "irt"))
    one = prefer.replace(", {model: ./nowhere}", "").replace(", {{model: ./nowhere}}", "")
    assert [model.path for model in inputs.respondents(made(tmp_path, RECIPE + one % "irt"))] == [tiny_llama]


def test_a_limit_for_near_duplicates_that_the_task_itself_breaks_is_refused(tmp_path, tiny_llama):
    """30 questions of six words that differ in the last: 5 of 6 words in common, 0.83."""
    a_task(tmp_path / "home", validation=30)
    a_task(tmp_path / "garden")
    rows = [{"id": f"{n}", "question": f"where does the ball go {n}", "answer": "a"} for n in range(30)]
    (tmp_path / "home" / "validation.jsonl").write_text("\n".join(map(json.dumps, rows)))
    text = RECIPE.replace("./teacher", str(tiny_llama)).replace("./student", str(tiny_llama))
    with pytest.raises(UsageError, match=r"^tailor\.near_duplicate: 0\.7, by which 29 of the first 30 .* task `home`"):
        inputs.check(made(tmp_path, text))
    inputs.check(made(tmp_path, text + "tailor: {near_duplicate: null}\n"))


def test_whole_inputs_are_opened(tmp_path, tiny_llama):
    a_task(tmp_path / "home")
    a_task(tmp_path / "garden")
    text = RECIPE.replace("./teacher", str(tiny_llama)).replace("./student", str(tiny_llama))
    tasks, teacher, student = inputs.open_all(made(tmp_path, text))
    assert [task.name for task in tasks] == ["home", "garden"]
    assert teacher.path == student.path == tiny_llama.resolve()


PINNED = f"{{model: org/name, revision: {'ab12' * 10}}}"


def test_a_check_leaves_models_of_a_hub_that_were_never_fetched(tmp_path):
    a_task(tmp_path / "home")
    a_task(tmp_path / "garden")
    inputs.check(made(tmp_path, RECIPE.replace("{model: ./teacher}", PINNED).replace("{model: ./student}", PINNED)))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("{model: org/name, revision: main}", "teacher.revision: 'main' does not pin hub model org/name"),
        ("{model: org/name}", "teacher.revision: None does not pin hub model org/name"),
        (f"{{model: ./nowhere, revision: {'ab12' * 10}}}", r"teacher\.model: folder .*nowhere does not exist"),
        (f"{{model: ./empty, revision: {'ab12' * 10}}}", r"empty cannot be used\n  no \*\.safetensors file"),
    ],
)
def test_a_check_says_what_is_known_without_a_network(tmp_path, tiny_llama, model, says):
    a_task(tmp_path / "home")
    a_task(tmp_path / "garden")
    (tmp_path / "empty").mkdir()
    text = RECIPE.replace("{model: ./teacher}", model).replace("./student", str(tiny_llama))
    with pytest.raises(UsageError, match=says):
        inputs.check(made(tmp_path, text))


def test_a_check_looks_at_a_model_of_a_hub_that_was_fetched_before(tmp_path, tiny_llama, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    a_task(tmp_path / "home")
    a_task(tmp_path / "garden")
    fetched = tmp_path / "hub" / "models--org--name" / "snapshots" / ("ab12" * 10)
    shutil.copytree(tiny_llama, fetched)
    text = RECIPE.replace("{model: ./teacher}", PINNED).replace("./student", str(tiny_llama))
    inputs.check(made(tmp_path, text))
    (fetched / "config.json").write_text('{"auto_map": {"AutoModel": "evil.Evil"}}')
    with pytest.raises(UsageError, match=r"config\.json has `auto_map`"):
        inputs.check(made(tmp_path, text))


def test_a_build_tells_them_before_its_first_stage(tmp_path):
    store = Store(tmp_path / "runs")
    in_order = r"home has no [\s\S]*garden has no [\s\S]*teacher\.model[\s\S]*student\.model"
    with pytest.raises(UsageError, match=in_order):
        build.build(store, made(tmp_path), target.load("rpi5"))
    assert not store.steps and not store.runs.exists()


ALONE = """
title: a test
student: {model: ./student}
package: {exporter: gguf, quants: [Q4_0]}
"""


def test_a_text_that_candidates_are_judged_on_does_not_calibrate_them(tmp_path):
    """The same words in another file, cut into other lines."""
    (tmp_path / "judged.txt").write_text("The tide comes in twice a day,\nand goes out as often.")
    (tmp_path / "copy.txt").write_text("The tide comes in twice a day, and goes out as often.\n")
    (tmp_path / "other.txt").write_text("Bread is baked at night.")
    texts = "text: {file: judged.txt}\ncalibrate: {file: %s}\n"
    with pytest.raises(UsageError, match=r"copy\.txt is the text that candidates are judged on"):
        inputs.calibration_source(made(tmp_path, ALONE + texts % "copy.txt"), None, [])
    assert inputs.calibration_source(made(tmp_path, ALONE + texts % "other.txt"), None, []).path.name == "other.txt"


def test_a_question_of_the_test_does_not_calibrate_a_candidate(tmp_path):
    a_task(tmp_path / "home")
    row = {"id": "0", "question": "Turn the light in the hall off", "answer": "a"}
    (tmp_path / "home" / "test.jsonl").write_text(json.dumps(row))
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": "user: turn the light  in the hall off. assistant: done"}))
    text = RECIPE.replace(", garden", "") + "calibrate: {file: rows.jsonl}\n"
    opened = [task.load(tmp_path / "home")]
    with pytest.raises(UsageError, match=r"rows\.jsonl holds a question of the exam or the test: 'Turn the light"):
        inputs.calibration_source(made(tmp_path, text), None, opened)
    (tmp_path / "home" / "test.jsonl").write_text(json.dumps({**row, "question": "Open the window in the hall"}))
    assert inputs.calibration_source(made(tmp_path, text), None, [task.load(tmp_path / "home")])


def test_what_cannot_be_packaged_is_said_before_anything_is_trained(tmp_path, tiny_qwen2):
    """The student's rows have 128 and 384 numbers: Q6_K does not fit, and Q4_0 is the lowest type of a mix."""
    quants = "package: {exporter: gguf, quants: [{quant: Q4_0, head: Q6_K}, {fit: 1KiB}, {bits: 3}, Q8_0]}"
    text = ALONE.replace("./student", str(tiny_qwen2)).replace("package: {exporter: gguf, quants: [Q4_0]}", quants)
    with pytest.raises(UsageError) as caught:
        inputs.open_all(made(tmp_path, text))
    told = caught.value.problem
    assert "Q6_K takes rows of a multiple of 256, and these have 128" in told
    assert "MIX_1KiB: the weights take" in told and "MIX_3bit: the lowest types take 4." in told and "Q8_0" not in told


SERVED = "{model: large, engine: openai, base_url: http://127.0.0.1:9/v1}"


@pytest.mark.parametrize("open_them", [inputs.open_all, inputs.check])
@pytest.mark.parametrize(
    ("teacher", "distill", "says"),
    [
        ("GEMMA", "{method: topk_kd}", "different tokenizers"),
        ("GEMMA", "{method: on_policy, vocabulary: padded}", "different tokenizers"),
        ("LLAMA", "[{method: sft}, {method: topk_kd, teachers: [{model: GEMMA}]}]", "different tokenizers"),
        (SERVED, "{method: pad}", "`pad` cannot learn from large at http://127.0.0.1:9/v1: it asks how likely"),
        (SERVED, "{method: on_policy, top_k: null}", "`on_policy` cannot learn from large .*: `top_k` is to be given"),
        ("GEMMA", "{method: topk_kd, vocabulary: text}", None),
        ("GEMMA", "{method: topk_kd, own_weight: 0, teachers: [{model: LLAMA}]}", None),
        ("GEMMA", "{method: pad}", None),
        (SERVED, "{method: on_policy}", None),
        (SERVED, "{method: seqkd}", None),
    ],
)
def test_a_teacher_that_cannot_teach_by_the_method_is_refused_before_anything_runs(
    tmp_path, tiny_llama, tiny_gemma, open_them, teacher, distill, says
):
    for name in ("home", "garden"):
        a_task(tmp_path / name)
    text = RECIPE.replace("{model: ./teacher}", teacher if "{" in teacher else f"{{model: {teacher}}}")
    text = text.replace("{method: sft}", distill).replace("./student", "LLAMA")
    text = text.replace("GEMMA", str(tiny_gemma)).replace("LLAMA", str(tiny_llama))
    if says is None:
        open_them(made(tmp_path, text))
        return
    with pytest.raises(UsageError, match=says):
        open_them(made(tmp_path, text))


def test_a_signal_that_trains_the_student_needs_an_engine_that_can(tmp_path):
    text = RECIPE.replace("{model: ./student}", "{model: ./student, engine: llama}")
    with pytest.raises(UsageError, match="`influence` trains the student for one step, which only engine `hf` can"):
        made(tmp_path, text + "prefer: {signal: influence}\nalign: {}\n")
    made(tmp_path, text + "prefer: {signal: icl_accuracy}\nalign: {}\n")
    compared = text + "prefer: {signal: icl_accuracy}\nalign: {}\nmethods: {methods: [], pairs: []}\n"
    with pytest.raises(UsageError, match=r"^methods\.signals: .*`influence` trains the student"):
        contest.check(made(tmp_path, compared))


def test_what_the_target_has_no_runtime_for_is_left_out_and_told(tmp_path, capsys):
    several = made(tmp_path, RECIPE.replace("{exporter: gguf}", "[{exporter: gguf}, {exporter: onnx_genai}]"))
    rpi4 = target.load("rpi4")
    kept = inputs.for_target(several, rpi4)
    assert [config.exporter for config in kept.package] == ["gguf"]
    assert "target `rpi4` has no runtime for onnx_genai: left out" in capsys.readouterr().err
    assert inputs.for_target(kept, rpi4) is kept and not capsys.readouterr().err
    board = rpi4.model_copy(update={"name": "board", "formats": ("onnx",)})
    with pytest.raises(UsageError, match="target `board` has no runtime for gguf, onnx_genai; it has: onnx"):
        inputs.for_target(several, board)


@pytest.mark.parametrize("name", yaml_file.names("targets"))
def test_every_shipped_target_can_build_its_default_recipe(name, tmp_path):
    board = target.load(name)
    store = Store(tmp_path / "runs", dry=True)
    build.build(store, recipe.load(board.default_recipe), board)
    assert store.steps[-1].name == "bundle"
