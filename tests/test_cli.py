"""The command: exit codes, messages, and what it says when it is stopped."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgedistill import cli
from edgedistill.commands import doctor
from edgedistill.errors import DeviceError, EdgeDistillError, IntegrityError, StageFailed, UsageError

COMMANDS = ("build", "arms", "methods", "plan", "targets", "recipes", "report", "doctor", "verify", "run")


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """All of the command but the end of the process; a process of its own takes ten times as long to start."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli._run(list(arguments))
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def failed(code: int, *arguments: str, cwd: Path) -> str:
    done = run(*arguments, cwd=cwd)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    return done.stderr


def test_the_bare_command_prints_help(tmp_path):
    done = run(cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for name in COMMANDS:
        assert f"  {name} " in done.stdout
    assert "edgedistill build --target rpi5" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_one_line_per_option_and_an_example(command, tmp_path):
    done = run(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert all(len(line) <= 100 for line in done.stdout.splitlines())
    assert "Example:  edgedistill" in done.stdout or command in ("targets", "recipes")


def test_stages_named_by_options_are_those_of_the_longest_line(tmp_path):
    done = run("plan", "--target", "rpi5", "--set", "distill.method=topk_kd", "--json", cwd=tmp_path)
    assert tuple(stage["name"] for stage in json.loads(done.stdout)["stages"]) == cli.STAGES


def test_the_process_ends_with_the_exit_code(tmp_path):
    command = [sys.executable, "-m", "edgedistill", "targets", "show", "rpi6"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no target named `rpi6`")
    assert "\nhint: " in done.stderr


def test_exit_codes_are_those_of_the_errors():
    kinds = (EdgeDistillError, UsageError, DeviceError, IntegrityError, StageFailed)
    assert [kind.exit_code for kind in kinds] == [2, 2, 3, 4, 2]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["buid"], "Did you mean 'build'?"),
        (["build"], "Missing option '--target'"),
        (["build", "--taget", "rpi5"], "No such option '--taget'"),
        (["build", "--target", "rpi6"], "no target named `rpi6` (did you mean `rpi5`?)"),
        (["build", "--target", "rpi5", "--recipe", "quick"], "no recipe named `quick`"),
        (["build", "--target", "rpi5", "--set", "tailor.row=1"], "tailor.row: unknown key, did you mean `rows`?"),
        (["build", "--target", "rpi5", "--until", "nowhere"], "'nowhere' is not one of"),
        (["build", "--target", "rpi5", "--set", "align=null", "--until", "align"], "has no such stage"),
        (["build", "--target", "rpi5", "--fresh", "teach"], "no method of its reads what teachers wrote"),
        (["build", "--target", "rpi5", "--device", "local"], "not this machine"),
        (["build", "--target", "rpi5", "--device", "shh://pi@board"], "did you mean `ssh`"),
        (["build", "--target", "host", "--device", "ssh://pi@board"], "target `host` is built for this machine"),
        (["bench", "nowhere"], "nowhere is no bundle"),
        (["plan", "--target", "none.yaml"], "target file none.yaml does not exist"),
        (["verify", "nowhere"], "nowhere is no bundle"),
        (["run", "nowhere", "hello"], "nowhere is no bundle"),
        (["report"], "no reports in runs/reports"),
        (["targets", "show", "rpi6"], "no target named `rpi6`"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_end_with_2_and_say_what_is_wrong(arguments, says, tmp_path):
    assert says in failed(2, *arguments, cwd=tmp_path)
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_plan_says_what_would_run_and_whether_it_fits(tmp_path):
    done = run("plan", "--target", "rpi5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("quickstart on rpi5: 10 of 10 stages would run\n")
    for name in cli.STAGES:
        assert (f"  {name} " in done.stdout) == (name != "teach"), "`sft` reads nothing that teachers wrote down"
    for quant in ("F16", "Q8_0", "Q4_K_M", "Q4_0"):
        assert any(line.split()[:1] == [quant] and line.endswith("  fits") for line in done.stdout.splitlines())
    assert not list(tmp_path.iterdir())


def test_plan_ends_with_1_when_nothing_fits(tmp_path):
    run("targets", "copy", "rpi5", "small.yaml", cwd=tmp_path)
    path = tmp_path / "small.yaml"
    text = path.read_text()
    assert "package_mib: 512" in text
    path.write_text(text.replace("package_mib: 512", "package_mib: 0.5"))
    done = run("plan", "--target", "./small.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "does not fit" in done.stdout
    assert "the budget is 0.5 MiB" in done.stdout


def test_plan_leaves_alignment_out_where_the_recipe_does(tmp_path):
    done = run("plan", "--target", "rpi5", "--set", "align=null", "--json", cwd=tmp_path)
    assert [stage["name"] for stage in json.loads(done.stdout)["stages"]] == ["tailor", "distill", *cli.STAGES[6:]]


@pytest.mark.parametrize("kind", ["targets", "recipes"])
def test_shelves_list_show_copy_and_check(kind, tmp_path):
    listed = json.loads(run(kind, "--json", cwd=tmp_path).stdout)
    assert listed == json.loads(run(kind, "list", "--json", cwd=tmp_path).stdout)
    for entry in listed:
        name, path = entry["name"], Path(entry["path"])
        assert run(kind, "show", name, cwd=tmp_path).stdout == path.read_text()
        assert json.loads(run(kind, "show", name, "--json", cwd=tmp_path).stdout)["title"] == entry["title"]
    done = run(kind, "check", cwd=tmp_path)
    assert (done.returncode, done.stdout.count(": no problems")) == (0, len(listed))


def test_a_copied_target_can_be_used_and_is_never_written_over(tmp_path):
    done = run("targets", "copy", "rpi5", "mine", cwd=tmp_path)
    assert done.stdout == "mine.yaml\nuse it with `--target ./mine.yaml`\n"
    assert run("targets", "check", "./mine.yaml", cwd=tmp_path).returncode == 0
    assert "exists already" in failed(2, "targets", "copy", "rpi5", "mine", cwd=tmp_path)


def test_a_copied_recipe_brings_its_task_and_models(tmp_path):
    done = run("recipes", "copy", "quickstart", "mine", cwd=tmp_path)
    assert re.fullmatch(r"mine \(\d\d\.\d\d MiB\)\nuse it with `--recipe ./mine`\n", done.stdout), "it says its size"
    assert run("recipes", "check", "./mine", cwd=tmp_path).returncode == 0
    (tmp_path / "mine" / "home" / "test.jsonl").unlink()
    assert "test.jsonl: missing" in run("recipes", "check", "./mine", cwd=tmp_path).stderr


def test_check_reports_every_file_and_ends_with_2(tmp_path):
    (tmp_path / "bad.yaml").write_text("title: x\n")
    done = run("targets", "check", "rpi5", "./bad.yaml", "host", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout.splitlines() == ["rpi5: no problems", "host: no problems"]
    assert "target `bad` has 3 problems" in done.stderr


def test_check_tells_a_program_which_file_has_which_problem(tmp_path):
    (tmp_path / "bad.yaml").write_text("title: x\n")
    done = run("targets", "check", "rpi5", "./bad.yaml", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "")
    good, bad = json.loads(done.stdout)
    assert good == {"name": "rpi5", "problem": None, "hint": None, "notes": []}
    assert bad["name"] == "./bad.yaml" and "target `bad` has" in bad["problem"]
    done = run("recipes", "check", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert {line["problem"] for line in json.loads(done.stdout)} == {None}


def test_an_unsafe_model_folder_ends_with_2(tmp_path):
    run("recipes", "copy", "quickstart", "mine", cwd=tmp_path)
    student = tmp_path / "mine" / "models" / "student"
    config = json.loads((student / "config.json").read_text())
    (student / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Model"}}))
    found = failed(2, "build", "--target", "rpi5", "--recipe", "./mine", cwd=tmp_path)
    assert "config.json has `auto_map`" in found
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_stopped_build_ends_with_130_and_says_how_to_go_on(number, tmp_path):
    options = ["--target", "rpi5", "--set", "tailor.rows=9"]
    process = subprocess.Popen(
        [sys.executable, "-m", "edgedistill", "build", *options, "--fresh", "elicit"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not list(tmp_path.glob("runs/elicit/*.partial")):  # the first stage is at work
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert out == ""
    assert "error: interrupted" in err
    assert "finished shards are kept; go on with `edgedistill build --target rpi5 --set tailor.rows=9`" in err
    assert "Traceback" not in err


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "runs").write_text("a file where the folder should be")
    found = failed(2, "build", "--target", "rpi5", cwd=tmp_path)
    assert "runs" in found


def test_report_finds_builds_by_id_by_start_of_id_and_the_last(tmp_path):
    for name in ("20260101-000000-r-t", "20260102-000000-r-t"):
        folder = tmp_path / "runs" / "reports" / name
        folder.mkdir(parents=True)
        content = {
            "schema": "edgedistill.report/1", "recipe": "r", "target": "t", "build_id": name, "seconds": 1,
            "started": "2026-01-01T00:00:00+00:00", "exit_code": 0, "stages": [],
        }  # fmt: skip
        (folder / "report.json").write_text(json.dumps(content))
    for asked, expected in (([], "20260102"), (["20260101"], "20260101"), (["20260102-000000-r-t"], "20260102")):
        done = run("report", *asked, "--json", cwd=tmp_path)
        assert json.loads(done.stdout)["build_id"].startswith(expected)
    assert run("report", cwd=tmp_path).stdout.startswith("r on t: no budgets set")
    assert "2 builds start with `2026`" in failed(2, "report", "2026", cwd=tmp_path)
    (tmp_path / "runs" / "reports" / "20260101-000000-r-t" / "report.json").write_text("{")
    assert "is not a report" in failed(2, "report", "20260101", cwd=tmp_path)


def test_a_reader_that_has_enough_is_no_missed_budget(tmp_path):
    """A pipe that is closed before anything is written, as `edgedistill targets show rpi5 | head -0` leaves it."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        command = [sys.executable, "-m", "edgedistill", "targets", "show", "rpi5"]
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (cli.READER_GONE, "")


def test_doctor_finds_this_machine_well(tmp_path):
    done = run("doctor", "--json", cwd=tmp_path)
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 0, findings
    assert findings["llama_cpp"]["found"] == "0.3.36 loads"
    assert {"python", "packages", "torch", "C++ compiler", "work folder", "cores", "memory"} <= set(findings)


def test_doctor_tells_the_ways_to_devices_and_misses_none(monkeypatch, tmp_path):
    """Just ssh is there; the others are no failure."""
    ssh = tmp_path / "ssh"
    ssh.write_text("")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = {finding.what: finding for finding in doctor.examine(tmp_path)}
    assert [found[name].status for name in ("ssh", "adb", "qemu-aarch64")] == ["ok", "optional", "optional"]
    assert found["ssh"].found == f"{ssh}; for boards and computers elsewhere, `--device ssh://user@host`"
    assert found["adb"].found == "not here; for Android phones, `--device adb`"
    assert "--device qemu://" in found["qemu-aarch64"].found


def test_doctor_says_what_to_do_about_a_folder_that_is_none(tmp_path):
    (tmp_path / "runs").write_text("")
    done = run("doctor", cwd=tmp_path)
    assert done.returncode == 2
    assert "work folder: give another one with `--runs`" in done.stdout


def test_it_is_installed_under_its_name():
    assert shutil.which("edgedistill", path=str(Path(sys.executable).parent))
