"""The store: what a key follows, what is kept, and that nothing half-written is ever taken as whole."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

from edgedistill.artifacts import Artifact, Drafts
from edgedistill.errors import StageFailed
from edgedistill.files import write_json, write_rows, write_text
from edgedistill.sections import NotIdentity, Section
from edgedistill.store import Stopped, Store, is_whole, stage


class Config(Section):
    epochs: int = 1
    workers: Annotated[int, NotIdentity] = 1


@dataclass(frozen=True)
class Log:
    """Counts how often a stage ran, by a file outside of the store."""

    path: Path

    def identity(self) -> dict[str, str]:
        return {}

    def note(self, what: str) -> None:
        with self.path.open("a") as file:
            file.write(f"{what}\n")

    @property
    def ran(self) -> list[str]:
        return self.path.read_text().split() if self.path.exists() else []


def counts(out: Path, rows: int) -> None:
    write_json(out / "counts.json", {"rows": rows, "summary": f"{rows} rows"})


@stage(version=1)
def first(out: Path, config: Config, log: Log, seed: int) -> Drafts:
    log.note("first")
    write_text(out / "deep" / "result.txt", f"{config.epochs} {seed}")
    counts(out, 1)
    return Drafts(out)


@stage(version=1)
def second(out: Path, drafts: Drafts, log: Log) -> Artifact:
    log.note("second")
    write_text(out / "result.txt", (drafts.path / "deep" / "result.txt").read_text() + "!")
    counts(out, 2)
    return Artifact(out)


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path / "log")


def line(store: Store, log: Log, config: Config = Config(), seed: int = 0) -> Artifact:  # noqa: B008  frozen
    return store.run(second, store.run(first, config, log, seed), log)


def status(store: Store) -> list[str]:
    return [step.status for step in store.steps]


def test_a_second_build_runs_nothing(tmp_path, log):
    one, two = Store(tmp_path / "runs"), Store(tmp_path / "runs")
    assert line(one, log) == line(two, log)
    assert (status(one), status(two)) == (["ran", "ran"], ["cached", "cached"])
    assert log.ran == ["first", "second"]
    assert [(step.rows, step.summary) for step in two.steps] == [(1, "1 rows"), (2, "2 rows")]


def test_what_goes_in_makes_the_key(tmp_path, log):
    store = Store(tmp_path)
    keys = [
        store.run(first, Config(), log, 0).key,
        store.run(first, Config(epochs=2), log, 0).key,
        store.run(first, Config(), log, 1).key,
        store.run(first, Config(workers=9), log, 0).key,
    ]
    assert len(set(keys[:3])) == 3
    assert keys[3] == keys[0], "a field that cannot change results is not in the key"
    assert all(len(key) == 32 for key in keys)


def test_version_of_a_stage_is_in_its_key_and_in_all_later_ones(tmp_path, log):
    before = line(Store(tmp_path), log).key
    newer = stage(version=2)(first.function)
    store = Store(tmp_path)
    assert store.run(second, store.run(newer, Config(), log, 0), log).key != before


def test_key_does_not_depend_on_where_the_store_lies(tmp_path, log):
    assert line(Store(tmp_path / "a"), log).key == line(Store(tmp_path / "b"), log).key


def test_an_argument_without_identity_is_an_error(tmp_path, log):
    with pytest.raises(TypeError, match="object has no identity"):
        Store(tmp_path).run(first, object(), log, 0)  # type: ignore[arg-type]


def test_until_stops_after_the_named_stage(tmp_path, log):
    store = Store(tmp_path, until="first")
    with pytest.raises(Stopped):
        line(store, log)
    assert log.ran == ["first"]


def test_fresh_does_a_stage_and_all_later_ones_again(tmp_path, log):
    line(Store(tmp_path), log)
    redone = Store(tmp_path, fresh="second")
    line(redone, log)
    assert status(redone) == ["cached", "ran"]
    redone = Store(tmp_path, fresh="first")
    line(redone, log)
    assert status(redone) == ["ran", "ran"]


def test_fresh_work_that_is_stopped_is_not_cached_by_a_plain_rerun(tmp_path, log):
    line(Store(tmp_path), log)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Log, "note", interrupt)
        line(Store(tmp_path, fresh="first"), log)
    again = Store(tmp_path)
    line(again, log)
    assert status(again) == ["ran", "cached"]
    assert not list(tmp_path.rglob("*.gone"))


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_killed_removal_leaves_nothing_under_the_old_name(tmp_path, log):
    line(Store(tmp_path), log)
    folder = folder_of(tmp_path, "first")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("shutil.rmtree", lambda path, **_: interrupt() if Path(path).exists() else None)
        line(Store(tmp_path, fresh="first"), log)
    assert not folder.exists()
    line(Store(tmp_path), log)
    assert is_whole(folder)
    assert not list(tmp_path.rglob("*.gone"))


def test_dry_mode_runs_and_writes_nothing(tmp_path, log):
    store = Store(tmp_path / "runs", dry=True)
    line(store, log)
    assert status(store) == ["would run", "would run"]
    assert log.ran == []
    assert not (tmp_path / "runs").exists()


def test_dry_mode_foretells_the_keys(tmp_path, log):
    dry, wet = Store(tmp_path, dry=True), Store(tmp_path)
    assert line(dry, log).key == line(wet, log).key
    dry = Store(tmp_path, dry=True)
    line(dry, log)
    assert status(dry) == ["cached", "cached"]


def folder_of(store: Path, name: str) -> Path:
    (found,) = (path for path in (store / name).iterdir() if path.is_dir())
    return found


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "deep" / "result.txt").unlink(),
        lambda folder: (folder / "deep" / "result.txt").write_text("cut"[:1]),
    ],
    ids=["no manifest", "file missing", "file cut"],
)
def test_a_folder_that_is_not_whole_is_made_again(tmp_path, log, harm: Callable[[Path], Any]):
    line(Store(tmp_path), log)
    folder = folder_of(tmp_path, "first")
    harm(folder)
    assert not is_whole(folder)
    again = Store(tmp_path)
    line(again, log)
    assert status(again) == ["ran", "cached"]
    assert is_whole(folder)


def test_manifest_lists_every_file_with_its_hash(tmp_path, log):
    line(Store(tmp_path), log)
    manifest = json.loads((folder_of(tmp_path, "first") / "manifest.json").read_text())
    assert set(manifest["files"]) == {"deep/result.txt", "counts.json"}
    # printf '1 0' | sha256sum
    assert manifest["files"]["deep/result.txt"] == {
        "bytes": 3,
        "sha256": "8fad34bbb0c1ed095fbf1b50cb0e48785a030d5af68dc1a4957cbb583c3c1e5a",
    }


def test_a_failure_is_never_stored(tmp_path):
    attempts = []

    @stage(version=1)
    def failing(out: Path) -> Artifact:
        attempts.append(1)
        write_text(out / "half.txt", "half")
        counts(out, 1)
        if len(attempts) < 3:
            raise StageFailed("the teacher wrote nothing usable")
        return Artifact(out)

    for _ in range(2):
        with pytest.raises(StageFailed):
            Store(tmp_path).run(failing)
    store = Store(tmp_path)
    store.run(failing)
    assert status(store) == ["ran"]
    assert len(attempts) == 3


FULL = """
import sys
from pathlib import Path
from edgedistill.artifacts import Artifact
from edgedistill.errors import StageFailed
from edgedistill.files import write_json, write_rows
from edgedistill.store import Store, is_whole, stage

@stage(version=1)
def writing(out: Path, kib: int) -> Artifact:
    for number in range(kib):
        write_rows(out / "shards" / f"{number:04}.jsonl", [{"x": "x" * 1000}])
    write_json(out / "counts.json", {"rows": kib, "summary": ""})
    return Artifact(out)

runs = Path(sys.argv[1]) / "runs"
try:
    Store(runs).run(writing, 1000)
except StageFailed as error:
    print(error.problem, "|", error.hint, "|", error.__cause__.errno)
print([is_whole(folder) for folder in (runs / "writing").iterdir() if folder.is_dir()])
print(all(len(path.read_text()) == 1010 for path in runs.rglob("*.jsonl")), len(list(runs.rglob("*.jsonl"))) > 10)
print(list(runs.rglob("*.tmp")))
"""


def test_a_full_disk_is_said_and_nothing_half_written_is_taken_as_whole(on_a_tiny_disk, tmp_path):
    done = on_a_tiny_disk(FULL, kib=256)
    assert done.stdout.splitlines() == [
        f"writing: the disk that holds {tmp_path / 'disk' / 'runs'} is full | free some space and run the same command "
        f"again; what is whole is kept | {errno.ENOSPC}",
        "[False]",
        "True True",
        "[]",
    ], done.stderr


def test_a_library_that_reports_a_full_disk_in_its_own_words_is_understood(tmp_path):
    @stage(version=1)
    def saving(out: Path) -> Artifact:
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(StageFailed, match="is full"):
        Store(tmp_path).run(saving)


def test_a_full_disk_is_named_by_the_file_that_did_not_fit(tmp_path):
    @stage(version=1)
    def copying(out: Path) -> Artifact:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/scratch/model.gguf")

    with pytest.raises(StageFailed, match=r"the disk that holds /scratch/model\.gguf is full"):
        Store(tmp_path).run(copying)


def test_any_other_error_is_passed_on_as_it_is(tmp_path):
    @stage(version=1)
    def broken(out: Path) -> Artifact:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        Store(tmp_path).run(broken)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    """A limit on the size of files, set for this test's own process, stands in for a disk that fills up."""
    path = write_rows(tmp_path / "rows.jsonl", [{"a": 1}])
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom edgedistill.files import write_rows\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_rows(Path(sys.argv[1]), [{'a': 'x' * 100}] * 100)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert "File too large" in done.stderr
    assert path.read_text() == '{"a": 1}\n'
    assert sorted(tmp_path.iterdir()) == [path]


SLOW = """
import sys, time
from pathlib import Path
from edgedistill.artifacts import Artifact
from edgedistill.files import write_json, write_rows
from edgedistill.store import Store, stage

@stage(version=1)
def slow(out: Path) -> Artifact:
    for number in range(20):
        shard = out / "shards" / f"{number:04}.jsonl"
        if not shard.is_file():
            with open(sys.argv[2], "a") as log:
                log.write(f"{number}\\n")
            time.sleep(float(sys.argv[3]))
            write_rows(shard, [{"number": number}])
    write_rows(out / "rows.jsonl", [{"number": n} for n in range(20)])
    write_json(out / "counts.json", {"rows": 20, "summary": ""})
    return Artifact(out)

store = Store(Path(sys.argv[1]))
print(store.run(slow).path, store.steps[0].status)
"""


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SLOW, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_killed_in_the_middle_it_goes_on_where_it_was(tmp_path):
    log, runs = tmp_path / "log", tmp_path / "runs"
    process = start(runs, log, 0.1)
    wait_for(lambda: log.exists() and log.read_text().count("\n") >= 5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    begun = log.read_text().split()
    assert not [f for f in (runs / "slow").iterdir() if f.is_dir() and is_whole(f)]
    out, _ = start(runs, log, 0).communicate(timeout=60)
    assert out.split()[1] == "ran"
    again = log.read_text().split()[len(begun) :]
    assert again == [str(number) for number in range(int(begun[-1]), 20)], "only the shard at work was done twice"
    undisturbed, _ = start(tmp_path / "other", tmp_path / "log2", 0).communicate(timeout=60)
    assert contents(Path(out.split()[0])) == contents(Path(undisturbed.split()[0]))


def test_killed_between_manifest_and_new_name_it_is_whole(tmp_path, log):
    line(Store(tmp_path), log)
    folder = folder_of(tmp_path, "first")
    before = contents(folder)
    folder.rename(folder.with_suffix(".partial"))
    line(Store(tmp_path), log)
    assert contents(folder) == before
    assert log.ran == ["first", "second"], "nothing was done again"


def test_leftovers_of_a_killed_write_do_not_ship(tmp_path, log):
    store = Store(tmp_path)
    key = store.run(first, Config(), log, 0).key
    folder = tmp_path / "first" / key
    folder.rename(folder.with_suffix(".partial"))
    partial = folder.with_suffix(".partial")
    (partial / "manifest.json").unlink()
    (partial / "deep" / ".result.txt.123.tmp").write_text("half")
    line(Store(tmp_path), log)
    assert not list(folder.rglob("*.tmp"))


def test_two_builds_at_once_share_one_result(tmp_path):
    log, runs = tmp_path / "log", tmp_path / "runs"
    one = start(runs, log, 0.05)
    wait_for(log.exists)
    two = start(runs, log, 0.05)
    (out_one, _), (out_two, _) = one.communicate(timeout=60), two.communicate(timeout=60)
    assert sorted((out_one.split()[1], out_two.split()[1])) == ["cached", "ran"]
    assert log.read_text().split() == [str(number) for number in range(20)], "every shard was done once"
    assert is_whole(Path(out_one.split()[0]))


def test_a_build_that_has_to_wait_says_so(tmp_path, log):
    key = Store(tmp_path, dry=True).run(first, Config(), log, 0).key
    lock = tmp_path / "first" / f"{key}.lock"
    lock.parent.mkdir()
    said: list[str] = []

    def run() -> None:
        Store(tmp_path).run(first, Config(), log, 0)

    with lock.open("w") as held, pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgedistill.locks.say", said.append)
        fcntl.flock(held, fcntl.LOCK_EX)
        thread = threading.Thread(target=run)
        thread.start()
        wait_for(lambda: bool(said))
        assert log.ran == []
        fcntl.flock(held, fcntl.LOCK_UN)
        thread.join(60)
    assert said == [f"waiting: another process is working on first {key[:8]}"]
    assert log.ran == ["first"]


def test_a_lock_of_a_killed_build_does_not_block(tmp_path):
    log, runs = tmp_path / "log", tmp_path / "runs"
    process = start(runs, log, 5)
    wait_for(log.exists)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    out, err = start(runs, log, 0).communicate(timeout=60)
    assert out.split()[1] == "ran"
    assert "waiting" not in err
