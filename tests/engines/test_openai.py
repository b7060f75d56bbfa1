"""A real llama.cpp server with the embedded teacher answers; between it and the tool stands a relay of the test.

The relay passes requests and answers on as they are. It proves what was asked and how often, and it can hold answers
back, so that a build can be killed at a known place. The answers themselves are the real server's. How failures are
treated is in tests/test_server.py.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgedistill import task, yaml_file
from edgedistill.engine import open_engine, user
from edgedistill.engines import llama
from edgedistill.errors import UsageError
from edgedistill.files import read_rows
from edgedistill.models import Model, resolve
from edgedistill.prompts import plain_prompt
from edgedistill.sections import ElicitConfig, ModelConfig
from edgedistill.stages.elicit import elicit

QUICKSTART = yaml_file.shipped("recipes") / "quickstart"
KEY = "key-that-nobody-may-see"
SAID = ["turn off the light", "what is the weather in Paris", "play some jazz", "wake me at seven"]


@pytest.fixture(scope="session")
def teacher_gguf(tmp_path_factory) -> Path:
    """The embedded teacher, made by the real exporter."""
    from edgedistill.exporters import gguf

    folder = tmp_path_factory.mktemp("teacher-gguf")
    gguf.export(folder, Model(QUICKSTART / "models/teacher", "teacher"), gguf.Config(quants=("F16",)))
    return folder / "model-f16.gguf"


def command(file: Path, port: int) -> list[str]:
    """llama.cpp's own server where it is installed, else the binding's."""
    where = ["--model", str(file), "--host", "127.0.0.1", "--port", str(port)]
    if own := shutil.which("llama-server"):
        return [own, *where, "--alias", "teacher", "--ctx-size", "4096", "--parallel", "2", "--threads", "1"]
    missing = [name for name in ("fastapi", "uvicorn", "sse_starlette", "starlette_context", "pydantic_settings")
               if importlib.util.find_spec(name) is None]  # fmt: skip
    if missing:
        pytest.skip(f"needs llama-server on the PATH, or `llama-cpp-python[server]` ({', '.join(missing)} missing)")
    quiet = ["--interrupt_requests", "false", "--verbose", "false", "--n_threads", "1", "--n_threads_batch", "1"]
    return [sys.executable, "-m", "llama_cpp.server", *where, "--model_alias", "teacher", "--n_ctx", "2048", *quiet]


@pytest.fixture(scope="session")
def real_server(teacher_gguf, tmp_path_factory) -> Iterator[str]:
    """The address of a running server."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with log.open("w") as out:
        process = subprocess.Popen(command(teacher_gguf, port), stdout=out, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}/v1"
    try:
        until = time.monotonic() + 120
        while not is_up(address):
            assert process.poll() is None and time.monotonic() < until, log.read_text()[-2000:]
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def is_up(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/models", timeout=5) as got:
            return got.status == 200
    except OSError:
        return False


class Relay:
    """Passes everything on, and keeps the bodies that were answered. After `most` answers it holds the others back."""

    def __init__(self, to: str) -> None:
        self.answered: list[str] = []
        self.keys: set[str | None] = set()
        self.most: int | None = None
        self.holds = threading.Event()
        self.goes_on = threading.Event()
        self.lock = threading.Lock()
        relay = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.pass_on(None)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with relay.lock:
                    is_held = relay.most is not None and len(relay.answered) >= relay.most
                    if not is_held:
                        relay.answered.append(body.decode())
                if is_held:
                    relay.holds.set()
                    relay.goes_on.wait(60)
                    return
                self.pass_on(body)

            def pass_on(self, body: bytes | None) -> None:
                relay.keys.add(self.headers.get("Authorization"))
                headers = {"Content-Type": "application/json"}
                try:
                    asked = urllib.request.Request(to + self.path.removeprefix("/v1"), body, headers)
                    with urllib.request.urlopen(asked, timeout=60) as got:
                        status, content = got.status, got.read()
                except urllib.error.HTTPError as error:
                    status, content = error.code, error.read()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self.goes_on.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def relay(real_server) -> Iterator[Relay]:
    made = Relay(real_server)
    yield made
    made.close()


@pytest.fixture
def engine(real_server):
    with open_engine(model(real_server)) as opened:
        yield opened


def model(address: str, name: str = "teacher", **more: Any) -> Model:
    config = ModelConfig(model=name, engine="openai", base_url=address, **more)
    return resolve(config, Path("nowhere"), "teacher")


def prompts() -> list[Any]:
    home = task.load(QUICKSTART / "home")
    return [user(plain_prompt(home.info.description, said)) for said in SAID]


def test_greedy_answers_are_those_of_llama_cpp_itself(engine, teacher_gguf):
    done: list[int] = []
    got = engine.generate(prompts(), max_tokens=64, stop="</ans>", on_done=done.append)
    with llama.open_file(teacher_gguf, context=1024, threads=1) as itself:
        expected = itself.generate(prompts(), max_tokens=64, stop="</ans>")
    assert sum(done) == len(SAID)
    assert all(text.endswith("</ans>") for text in got)
    assert sum(a == b for a, b in zip(got, expected, strict=True)) >= len(SAID) - 1  # rounding may turn a tie


def test_sampling_follows_its_seed_and_no_two_rows_share_one(engine):
    same = prompts()[1:2] * 6
    asked = dict(max_tokens=24, temperature=1.5)
    first = engine.generate(same, seed=3, **asked)
    assert len(set(first)) > 1
    assert engine.generate(same, seed=3, **asked) == first
    assert engine.generate(same, seed=4, **asked) != first


def test_an_answer_has_room_for_no_more_than_it_was_given(engine):
    assert len(engine.generate(prompts()[:1], max_tokens=3)[0]) < 30
    assert engine.generate([], max_tokens=3) == []


def test_what_a_request_says(relay):
    told = model(relay.address, extra_body={"min_p": 0.0}, requests={"length_key": "max_completion_tokens"})
    with open_engine(told) as opened:
        opened.generate(prompts()[:1], max_tokens=8, temperature=0.5, seed=1)
    body = json.loads(relay.answered[0])
    assert body["messages"] == prompts()[0]
    assert 0 <= body.pop("seed") < 2**31
    body.pop("messages")
    assert body == {"model": "teacher", "max_completion_tokens": 8, "temperature": 0.5, "top_p": 1, "min_p": 0.0}


def test_a_name_that_the_server_does_not_list_is_refused(real_server):
    with pytest.raises(UsageError, match=r"has no model `teecher` \(did you mean `teacher`\?\); it has: teacher"):
        open_engine(model(real_server, "teecher"))


def test_a_key_that_is_not_set_is_refused(real_server, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(UsageError, match="environment variable NO_SUCH_KEY is not set"):
        open_engine(model(real_server, api_key_env="NO_SUCH_KEY"))
    monkeypatch.setenv("NO_SUCH_KEY", "geheim\nX-Other: 1")
    with pytest.raises(UsageError, match="holds signs that no key has") as caught:
        open_engine(model(real_server, api_key_env="NO_SUCH_KEY"))
    assert "geheim" not in str(caught.value)


def test_a_server_gives_no_probabilities_and_no_tokens(engine):
    for ask in (engine.first_token_log_probs, engine.token_ids, engine.render):
        with pytest.raises(UsageError, match="engine `openai` gives text and no"):
            ask(prompts())
    with pytest.raises(UsageError, match="gives text and no probabilities"):
        engine.answer_log_probs(prompts()[:1], ["x"])


def test_a_teacher_on_a_server_drafts(real_server, tmp_path):
    """Elicit, whole: questions that parse, four rationales each, and no file of answers left beside the shards."""
    home = small_task(tmp_path / "home")
    config = ElicitConfig(questions=3, max_question_tokens=200, max_rationale_tokens=64, near_duplicate=None)
    drafts = list(elicit.function(tmp_path / "out", model(real_server), [home], config, 0).rows())
    assert len({draft.question for draft in drafts}) == 3
    assert all("<ans>" in draft.rationale for draft in drafts)
    assert not list((tmp_path / "out").rglob("answered.jsonl"))


def small_task(folder: Path) -> task.Task:
    shutil.copytree(QUICKSTART / "home", folder)
    for part, most in (("validation", 20), ("test", 12)):
        lines = (folder / f"{part}.jsonl").read_text().splitlines(keepends=True)
        (folder / f"{part}.jsonl").write_text("".join(lines[:most]))
    return task.load(folder)


def small_recipe(folder: Path, address: str) -> list[str]:
    """A recipe without `align`, and the command that builds it as far as the training data."""
    small_task(folder / "home")
    recipe = {
        "title": "written by a server",
        "tasks": ["home"],
        "teacher": {"engine": "openai", "model": "teacher", "base_url": address, "api_key_env": "TEACHER_KEY"},
        "student": {"model": str(QUICKSTART / "models/student")},
        "tailor": {"rows": 10, "max_question_tokens": 200, "max_rationale_tokens": 64, "near_duplicate": None},
        "distill": {"method": "sft"},
        "package": {"exporter": "gguf"},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    options = ["--recipe", str(folder / "recipe.yaml"), "--runs", str(folder / "runs"), "--until", "tailor"]
    return [sys.executable, "-m", "edgedistill", "build", "--target", "rpi5", *options]


def test_a_killed_build_goes_on_and_asks_nothing_twice(relay, tmp_path):
    line, seen = small_recipe(tmp_path, relay.address), {**os.environ, "TEACHER_KEY": KEY}
    for answers, end, code in ((3, signal.SIGINT, 130), (5, signal.SIGKILL, -9)):
        relay.most = answers
        relay.holds.clear()
        process = subprocess.Popen(line, env=seen, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert relay.holds.wait(120)
        until = time.monotonic() + 60
        while kept(tmp_path) < answers and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(end)
        assert process.wait(30) == code  # and not after the timeout of the requests that are held
        assert kept(tmp_path) == answers
    before = set(relay.answered)

    relay.most = None
    done = subprocess.run(line, env=seen, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    asked = relay.answered[5:]
    assert len(before) == 5 and not before & set(asked)
    assert len(asked) == len(set(asked))
    (made,) = (tmp_path / "runs/tailor").glob("*/manifest.json")
    assert len(list(read_rows(made.parent / "rows.jsonl"))) + len(list(read_rows(made.parent / "rejected.jsonl"))) == 10
    assert "answered.jsonl" not in json.loads(made.read_text())["files"]
    assert relay.keys == {f"Bearer {KEY}"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(KEY.encode() in path.read_bytes() for path in files)
    assert KEY not in done.stdout + done.stderr

    relay.close()  # what is finished needs no server
    again = subprocess.run(line, capture_output=True, text=True)
    assert again.returncode == 0 and "cached" in again.stderr


def kept(folder: Path) -> int:
    """Whole rows that the killed build's work has on disk."""
    files = list((folder / "runs").glob("tailor/*.partial/answered.jsonl"))
    return sum(1 for file in files for line in file.read_text().split("\n") if line.endswith("}"))


def test_a_teacher_on_a_server_cannot_be_aligned(tmp_path):
    """Refused while the recipe is read, with nobody listening at the address."""
    line = small_recipe(tmp_path, "http://127.0.0.1:9/v1")
    for command_line in (line, [*line[:3], "plan", *line[4:-2]]):
        options = ["--set", "prefer={exam_size: 8}", "--set", "align={}"]
        done = subprocess.run([*command_line, *options], capture_output=True, text=True)
        assert done.returncode == 2
        assert "align: trains the teacher, which `teacher` on a server cannot be; leave `align` and" in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_nobody_at_the_address_is_told_before_anything_is_written(tmp_path):
    line = small_recipe(tmp_path, "http://127.0.0.1:9/v1")
    done = subprocess.run(line, env={**os.environ, "TEACHER_KEY": KEY}, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no server answers at http://127.0.0.1:9/v1: " in done.stderr and "Traceback" not in done.stderr


def test_a_plan_asks_nobody(tmp_path):
    line = small_recipe(tmp_path, "http://127.0.0.1:9/v1")
    done = subprocess.run([*line[:3], "plan", *line[4:-2]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "would run" in done.stdout
