"""A recipe with mistakes is refused with all of them in one message, each with its key and a near match."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from edgedistill import recipe, yaml_file
from edgedistill.errors import UsageError

WHOLE = """
title: a test
tasks: [home]
teacher: {model: teacher}
student: {model: student}
distill: {method: sft}
package: {exporter: gguf}
"""


def write(folder: Path, text: str, name: str = "small.yaml") -> str:
    path = folder / name
    path.write_text(dedent(text))
    return str(path)


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        recipe.load(write(folder, text), overrides)
    head, *lines = caught.value.problem.partition("\nand its tasks have problems")[0].splitlines()
    given = "".join(f" --set {override}" for override in overrides)
    assert head == f"recipe `small`{given} has {len(lines)} problem{'s' if len(lines) > 1 else ''}"
    assert str(folder / "small.yaml") in caught.value.hint
    assert caught.value.exit_code == 2
    return [line.strip() for line in lines]


def test_a_whole_recipe_loads_with_name_folder_and_defaults(tmp_path):
    made = recipe.load(write(tmp_path, WHOLE))
    assert (made.name, made.folder, made.align) == ("small", tmp_path, None)
    assert made.elicit.questions == 250
    assert [quant.name for quant in made.package[0].quants] == ["F16", "Q8_0", "Q4_K_M", "Q4_0"]


def test_the_example_of_the_style_guide(tmp_path):
    text = WHOLE.replace("{method: sft}", "{method: sft, lora_rnak: 32}").replace("exporter: gguf", "exporter: guff")
    assert problems(tmp_path, text) == [
        "distill.lora_rnak: unknown key, did you mean `lora_rank`?",
        "package.exporter: no exporter named `guff` (did you mean `gguf`?); there are: gguf, onnx_genai, onnx_optimum",
    ]


def test_what_the_loader_fills_in_is_not_offered_as_a_key(tmp_path):
    (problem,) = problems(tmp_path, WHOLE + "xyzzy: 1\n")
    assert problem.startswith("xyzzy: unknown key; known: title, tasks, teacher, student, seed, ")
    assert problems(tmp_path, WHOLE + "folders: [a]\n")[0].startswith("folders: unknown key; known: ")


def test_every_problem_comes_in_one_message(tmp_path):
    text = (
        WHOLE.replace("title: a test\n", "").replace("{method: sft}", "{method: sft, epochs: two, batch: 0}")
        + "tailr: {rows: 3}\nprefer: {min_gap: 1.5}\nvalidate: {golden_cases: 1.5}\n"
    )
    found = "\n".join(problems(tmp_path, text))
    for start in (
        "title: missing",
        "distill.epochs: should be a valid integer",
        "distill.batch: should be greater than or equal to 1, got 0",
        "tailr: unknown key, did you mean `tailor`?",
        "prefer.min_gap: should be less than or equal to 1, got 1.5",
        "validate.golden_cases: should be a valid integer",
    ):
        assert start in found


def test_problems_of_the_tasks_come_in_the_same_message(tmp_path):
    """One folder is missing, the other has an item without an answer and too few seeds."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "task.yaml").write_text("title: t\nlicence: l\ndescription: d\nkind: tagged_answer\n")
    (folder / "seeds.jsonl").write_text('{"id": "1", "question": "q", "answer": "a"}\n')
    (folder / "validation.jsonl").write_text('{"id": "1", "question": "q", "answer": " "}\n')
    with pytest.raises(UsageError) as caught:
        recipe.load(write(tmp_path, WHOLE.replace("[home]", "[home, away]") + "tailr: {}\n"))
    assert caught.value.problem.splitlines() == [
        "recipe `small` has 1 problem",
        "  tailr: unknown key, did you mean `tailor`?",
        "and its tasks have problems",
        "  task `home` has 3 problems",
        "    validation.jsonl row 1: no answer; every item needs its label",
        "    test.jsonl: missing",
        "    seeds.jsonl: 1 seeds, at least 3 are needed: a prompt shows three",
        f"  task folder {tmp_path / 'away'} has no task.yaml",
    ]


def test_validation_needs_cases_and_room_for_a_prompt(tmp_path):
    few = problems(tmp_path, WHOLE + "validate: {golden_cases: 23}\n")
    assert few == ["validate.golden_cases: should be greater than or equal to 24, got 23"]
    (full,) = problems(tmp_path, WHOLE + "validate: {max_tokens: 64, context: 64}\n")
    assert "max_tokens 64 leaves no room for a prompt in a context of 64" in full


def test_unknown_method_is_named_with_those_there_are(tmp_path):
    assert problems(tmp_path, WHOLE.replace("method: sft", "method: sfd")) == [
        "distill.method: no method named `sfd` (did you mean `sft`?); there are: dpo, on_policy, pad, seqkd, sft,"
        " topk_kd"
    ]


def test_a_word_of_yaml_is_not_a_number(tmp_path):
    """YAML reads `no` as False, which Python takes for 0."""
    assert problems(tmp_path, WHOLE + "seed: no\nelicit: {questions: yes}\n") == [
        "seed: false is not a number or text",
        "elicit.questions: true is not a number or text",
    ]


def test_a_number_in_scientific_notation_without_a_point_is_a_number(tmp_path):
    """PyYAML reads 1e-5 as text."""
    text = WHOLE.replace("{method: sft}", "{method: sft, learning_rate: 1e-5}")
    assert recipe.load(write(tmp_path, text)).distill[0].learning_rate == 0.00001


@pytest.mark.parametrize("value", [".inf", ".nan", "-1"])
def test_numbers_that_training_cannot_use_are_refused(tmp_path, value):
    found = problems(tmp_path, WHOLE.replace("{method: sft}", f"{{method: sft, learning_rate: {value}}}"))
    assert found[0].startswith("distill.learning_rate: should be ")


@pytest.mark.parametrize("value", ["-1", "4294967296"])
def test_a_seed_that_a_generator_cannot_take_is_refused(tmp_path, value):
    assert problems(tmp_path, WHOLE + f"seed: {value}\n")[0].startswith("seed: should be ")


def test_a_section_that_is_not_one(tmp_path):
    text = WHOLE.replace("{method: sft}", "sft").replace("{model: teacher}", "teacher")
    assert problems(tmp_path, text) == [
        "teacher: should be a section of keys and values, got 'teacher'",
        "distill: should be a section of keys and values, got 'sft'",
    ]


def test_options_that_contradict_each_other(tmp_path):
    found = problems(tmp_path, WHOLE.replace("{method: sft}", "{method: sft, batch: 5, device_batch: 2}"))
    assert found == ["distill: batch 5 is not a multiple of device_batch 2"]


def test_pairs_that_can_never_fill_a_batch_stop_before_anything_is_drafted(tmp_path):
    """Eight questions: a pair of rationales each, and at most four of questions, or the top quarter against the
    bottom quarter, which is two."""
    few = WHOLE + "elicit: {questions: 8}\nalign: {}\n"
    assert problems(tmp_path, few + "prefer: {}\n") == [
        "align.batch: 16, but 8 questions per task make at most 12 pairs; lower it, or raise elicit.questions"
    ]
    assert "at most 10 pairs" in problems(tmp_path, few + "prefer: {question_pairs: quartile}\n")[0]
    assert recipe.load(write(tmp_path, few + "prefer: {}\n"), ("align.batch=12",)).align.batch == 12


def test_styles_of_one_task_name_a_task_of_the_recipe(tmp_path):
    styles = "elicit: {task_styles: {hom: [{name: terse, instruction: Be brief.}]}}\n"
    found = problems(tmp_path, WHOLE + styles)
    assert any("elicit.task_styles: no task named `hom`; there are: home" in line for line in found)


def test_alignment_needs_preferences(tmp_path):
    assert problems(tmp_path, WHOLE + "align: {}\n") == ["align: needs a `prefer` section, whose pairs it learns from"]


def test_set_changes_one_value_and_is_typed_by_its_field(tmp_path):
    path = write(tmp_path, WHOLE)
    made = recipe.load(path, ("tailor.rows=7", "distill.learning_rate=1e-3", "title=other", "package.quants=[Q8_0]"))
    assert (made.tailor.rows, made.distill[0].learning_rate, made.title) == (7, 0.001, "other")
    assert [quant.name for quant in made.package[0].quants] == ["Q8_0"]


def test_set_can_leave_a_section_out(tmp_path):
    path = write(tmp_path, WHOLE + "prefer: {}\nalign: {}\n")
    assert recipe.load(path).align is not None
    assert recipe.load(path, ("align=null",)).align is None


def test_set_of_an_unknown_key_is_found(tmp_path):
    assert problems(tmp_path, WHOLE, "tailor.row=3") == ["tailor.row: unknown key, did you mean `rows`?"]


@pytest.mark.parametrize("override", ["tailor.rows", "=3", "title.rows=3", "tailor.rows=[", "tailor..rows=3"])
def test_set_that_cannot_be_read(tmp_path, override):
    with pytest.raises(UsageError):
        recipe.load(write(tmp_path, WHOLE), (override,))


@pytest.mark.parametrize("text", ["- a\n", "a: [\n", "", "just words\n", "a: !!python/object:os.system {}\n"])
def test_a_file_that_is_not_a_mapping(tmp_path, text):
    with pytest.raises(UsageError, match=r"small\.yaml"):
        recipe.load(write(tmp_path, text))


def test_bytes_that_are_not_text(tmp_path):
    (tmp_path / "small.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not YAML"):
        recipe.load(str(tmp_path / "small.yaml"))


def test_unknown_name_lists_those_there_are():
    with pytest.raises(UsageError, match=r"no recipe named `quickstat` \(did you mean `quickstart`\?\); there are:"):
        recipe.load("quickstat")


def test_a_path_that_does_not_exist(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        recipe.load(str(tmp_path / "none.yaml"))


def test_a_folder_with_a_recipe_is_named_after_the_folder(tmp_path):
    (tmp_path / "mine").mkdir()
    write(tmp_path / "mine", WHOLE, "recipe.yaml")
    made = recipe.load(str(tmp_path / "mine"))
    assert (made.name, made.folder) == ("mine", tmp_path / "mine")


def test_fields_that_cannot_change_results_stay_out_of_the_identity(tmp_path):
    few = recipe.load(write(tmp_path, WHOLE.replace("{method: sft}", "{method: sft, checkpoint_steps: 5}")))
    many = recipe.load(write(tmp_path, WHOLE.replace("{method: sft}", "{method: sft, checkpoint_steps: 50}")))
    other = recipe.load(write(tmp_path, WHOLE.replace("{method: sft}", "{method: sft, epochs: 9}")))
    assert few.distill[0] != many.distill[0]
    assert few.distill[0].identity() == many.distill[0].identity()
    assert few.distill[0].identity() != other.distill[0].identity()
    assert few.distill[0].identity()["component"] == "edgedistill.methods.sft@1"


@pytest.mark.parametrize("tasks", ["[a/home, b/home]", "[home, ./home/]", "['']", "[.]", "[home/..]"])
def test_task_folders_are_told_apart_by_their_names(tmp_path, tasks):
    [found] = problems(tmp_path, WHOLE.replace("[home]", tasks))
    assert found.startswith("tasks: ")
    assert "two folders are named `home`" in found or "names no folder" in found


def test_an_unknown_engine_is_named_with_those_there_are(tmp_path):
    assert problems(tmp_path, WHOLE.replace("{model: teacher}", "{model: teacher, engine: lama}")) == [
        "teacher.engine: no engine named `lama` (did you mean `llama`?); "
        "there are: hf, llama, onnx_genai, onnxruntime, openai"
    ]


def test_what_the_loader_fills_in_cannot_be_set(tmp_path):
    assert problems(tmp_path, WHOLE + "name: other\nfolder: /elsewhere\nseed: -1\n") == [
        "name: comes from where the file lies; leave it out",
        "folder: comes from where the file lies; leave it out",
        "seed: should be greater than or equal to 0, got -1",
    ]


@pytest.mark.parametrize("twice", ["seed: 1\nseed: 2\n", "tailor: {rows: 1, rows: 2}\n"])
def test_a_key_given_twice_is_refused(tmp_path, twice):
    with pytest.raises(UsageError, match=r"small\.yaml is not YAML: `(seed|rows)` is given twice[\s\S]*line \d+"):
        recipe.load(write(tmp_path, WHOLE + twice))


def test_a_date_that_does_not_exist(tmp_path):
    """PyYAML's own error for it is none of YAML's."""
    with pytest.raises(UsageError, match="--set seed=2026-13-45: the value is not YAML: month must be"):
        recipe.load(write(tmp_path, WHOLE), ("seed=2026-13-45",))
    with pytest.raises(UsageError, match=r"small\.yaml is not YAML: month must be"):
        recipe.load(write(tmp_path, WHOLE + "seed: 2026-13-45\n"))


def test_every_choice_is_a_section_of_the_recipe():
    assert set(yaml_file.CHOICES) <= set(recipe.Recipe.model_fields)


def on_a_server(**changed: str) -> str:
    """WHOLE with a teacher on a server."""
    fields = {"engine": "openai", "model": "big", "base_url": "http://127.0.0.1:8080/v1", **changed}
    return WHOLE.replace("{model: teacher}", "{" + ", ".join(f"{key}: {value}" for key, value in fields.items()) + "}")


def test_a_teacher_on_a_server_is_known_by_address_and_name(tmp_path):
    text = on_a_server(base_url="http://LOCALHOST:8080/v1/", api_key_env="TEACHER_KEY", requests="{per_minute: 60}")
    made = recipe.load(write(tmp_path, text)).teacher
    assert (made.base_url, made.requests.per_minute, made.requests.at_once) == ("http://localhost:8080/v1", 60, 8)
    other = recipe.load(write(tmp_path, on_a_server(base_url="http://localhost:8080/v1"))).teacher
    assert made.identity() == other.identity()
    told = recipe.load(write(tmp_path, on_a_server(base_url="http://localhost:8080/v1", extra_body="{top_k: 1}")))
    assert told.teacher.identity() != other.identity()


def test_a_key_in_place_of_its_variable_is_refused_and_not_repeated(tmp_path):
    for key in ("sk-proj-abc123", "hf_abcDEF", "gsk_123"):
        (found,) = problems(tmp_path, on_a_server(api_key_env=key))
        assert found.startswith("teacher.api_key_env: is not the name of an environment variable") and key not in found
    (found,) = problems(tmp_path, on_a_server(api_key="sk-proj-abc123"))
    assert found == "teacher.api_key: unknown key, did you mean `api_key_env`?"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"base_url": "null"}, "teacher: engine `openai` needs `base_url`, e.g. http://127.0.0.1:8080/v1"),
        ({"engine": "hf"}, "teacher: base_url: only engine `openai` asks a server, this is `hf`"),
        ({"revision": "ab12"}, "teacher: revision: a server's model has none here; leave it out"),
        ({"extra_body": "{seed: 1, top_k: 5}"}, "teacher: extra_body: seed: the tool sets this itself"),
        ({"base_url": "http://example.com/v1"}, "teacher: http://example.com is another machine, and over plain http"),
        ({"base_url": "example"}, "teacher.base_url: `example` is not an address like http://127.0.0.1:8080/v1"),
        ({"requests": "{at_once: 0}"}, "teacher.requests.at_once: should be greater than or equal to 1, got 0"),
    ],
)
def test_what_a_server_cannot_be_is_told(tmp_path, changed, said):
    (found,) = problems(tmp_path, on_a_server(**changed))
    assert found.startswith(said)


def test_how_torch_loads_is_told_to_the_engine_that_uses_it_alone(tmp_path):
    loaded = "{model: teacher, device_map: auto, load_in_4bit: true, dtype: float16}"
    text = WHOLE.replace("{model: teacher}", loaded)
    made = recipe.load(write(tmp_path, text)).teacher
    assert (made.device_map, made.load_in_4bit, made.dtype) == ("auto", True, "float16")
    assert problems(tmp_path, text.replace("{model: teacher", "{engine: llama, model: teacher")) == [
        "teacher: device_map, dtype, load_in_4bit: only engine `hf` loads with torch, this is `llama`"
    ]


def test_plain_http_to_another_machine_can_be_allowed(tmp_path):
    text = on_a_server(base_url="http://gpu.lan/v1", plain_http="true")
    assert recipe.load(write(tmp_path, text)).teacher.base_url == "http://gpu.lan/v1"


def test_what_is_trained_is_not_on_a_server(tmp_path):
    assert problems(tmp_path, on_a_server() + "prefer: {}\nalign: {}\n") == [
        "align: trains the teacher, which `big` on a server cannot be; leave `align` and `prefer` out, and it writes "
        "the data as it is, or give a teacher with a folder or hub id"
    ]
    text = WHOLE.replace("{model: student}", "{engine: openai, model: big, base_url: 'https://example.com/v1'}")
    assert problems(tmp_path, text) == [
        "student: is trained, which `big` on a server cannot be; give a folder or hub id"
    ]


GGUF, ONNX = "{exporter: gguf, quants: [F16]}", "{exporter: onnx_genai, quants: [F32], keep: 2}"


def packaged(package: str) -> str:
    """A whole recipe with this `package` section."""
    return WHOLE.replace("package: {exporter: gguf}", f"package: {package}")


def test_package_may_list_several_exporters(tmp_path):
    made = recipe.load(write(tmp_path, packaged(f"[{GGUF}, {ONNX}]")), ("package.1.keep=3",))
    assert [config.exporter for config in made.package] == ["gguf", "onnx_genai"]
    assert made.package[1].keep == 3
    assert recipe.load(write(tmp_path, packaged(GGUF))).package == made.package[:1]


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("[]", "package: names no exporter"),
        (f"[{GGUF}, {GGUF}]", "package: exporter `gguf` is listed twice; put all its candidates into one entry"),
        (f"[{GGUF}, {{exporter: onnx_genie}}]", "package.1.exporter: no exporter named `onnx_genie` (did you mean"),
        (f"[{GGUF}, {{exporter: onnx_genai, kept: 1}}]", "package.1.kept: unknown key, did you mean `keep`?"),
        ("{exporter: onnx_genai, kept: 1}", "package.kept: unknown key, did you mean `keep`?"),
        ("gguf", "package: should be a section of keys and values, got 'gguf'"),
    ],
)
def test_a_mistake_in_a_list_of_exporters_is_named(tmp_path, package, words):
    (problem,) = problems(tmp_path, packaged(package))
    assert problem.startswith(words)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("package.quants=[Q8_0]", "`package` is a list; say which entry: `package.0.quants`"),
        ("package.5.quants=[Q8_0]", "`5` is no place in a list of 2; they count from 0"),
    ],
)
def test_an_override_says_which_entry_of_a_list(tmp_path, override, words):
    with pytest.raises(UsageError) as caught:
        recipe.load(write(tmp_path, packaged(f"[{GGUF}, {ONNX}]")), (override,))
    assert words in caught.value.problem


def test_distill_may_be_a_list_of_methods(tmp_path):
    """One and a list of one are the same; every problem is told with its place."""
    one, listed = (recipe.load("quickstart", (f"distill={given}",)) for given in ("{method: sft}", "[{method: sft}]"))
    assert one.distill == listed.distill
    chain = recipe.load("quickstart", ("distill=[{method: sft}, {method: pad}]", "distill.1.beta=5"))
    assert [config.method for config in chain.distill] == ["sft", "pad"]
    assert chain.distill[1].beta == 5
    with pytest.raises(UsageError) as raised:
        recipe.load("quickstart", ("distill=[{method: sft, epohs: 2}, {method: padd}]",))
    assert raised.value.problem.splitlines()[1:] == [
        "  distill.0.epohs: unknown key, did you mean `epochs`?",
        "  distill.1.method: no method named `padd` (did you mean `pad`?); there are: dpo, on_policy, pad, seqkd, sft,"
        " topk_kd",
    ]
    with pytest.raises(UsageError, match="no place in a list of 1"):
        recipe.load("quickstart", ("distill=[{method: sft}]", "distill.1.epochs=2"))
    with pytest.raises(UsageError, match="distill: missing, though teacher, prefer, align is given"):
        recipe.load("quickstart", ("distill=[]",))
