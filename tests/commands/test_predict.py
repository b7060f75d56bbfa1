"""The command: both forms, quick and light."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from edgedistill.cli import cli
from edgedistill.errors import UsageError

ONE = ["predict", "--target", "rpi5", "--params", "1.1e9", "--bytes", "6.4e8", "--quant", "Q4_0"]
COLUMNS = {
    "id": "a", "device": "rpi5", "cpu_cores_used(threads)": "4", "backend": "cpu", "runtime": "llama.cpp",
    "model": "TinyLlama 1.1B", "params_b": "1.1", "quant": "Q4_K_M", "file_size_gib": "0.62", "ram_gb": "8",
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_calibration(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def ask(*arguments: str) -> tuple[int, str]:
    """Exit code and output; mistakes of the user's are raised."""
    done = CliRunner().invoke(cli, list(arguments), standalone_mode=False, catch_exceptions=False)
    return done.return_value, done.output


def table(folder, *changes):
    path = folder / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({**COLUMNS, **change} for change in changes)
    return str(path)


def test_one_model_on_one_target():
    code, output = ask(*ONE, "--json")
    found = json.loads(output)
    assert code == 0 and found["fits"] and found["target"] == "rpi5"
    for name in ("decode_tok_s", "prefill_tok_s", "first_token_ms", "memory_mib"):
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]
    assert found["naive_decode_tok_s"] > 0 and found["reason"] is None


def test_for_people_it_says_what_it_rests_on_and_the_naive_rule():
    _, output = ask(*ONE)
    assert "predicted, with 80% intervals" in output
    assert "published measurements of this chip" in output
    assert "one read rate per chip" in output


def test_large_numbers_are_written_out():
    """20,000 tokens before the answer take more than ten minutes, in ms."""
    _, output = ask(*ONE, "--prompt-tokens", "20000", "--context", "32768")
    assert re.search(r"first token  [\d,]+,\d{3} \([\d,]+,\d{3} to [\d,]+,\d{3}\) ms, 20,000 tokens", output)
    assert "e+" not in output
    _, small = ask("predict", "--target", "rpi5", "--params", "1e5", "--bytes", "1e5", "--quant", "Q4_0")
    assert re.search(r"naive rule   \d{2,3},\d{3} tok/s", small) and "e+" not in small


def test_a_prompt_may_fill_the_context():
    assert ask(*ONE, "--prompt-tokens", "2048")[0] == 0


def test_what_does_not_fit_is_refused_and_not_slow():
    code, output = ask("predict", "--target", "rpi-zero2w", "--params", "1e9", "--bytes", "6e8", "--quant", "Q4_0")
    assert code == 1
    assert "no speed" in output and "rpi-zero2w has 342 MiB to use" in output


def test_experts_that_rest_take_memory_and_no_time():
    base = ["predict", "--target", "rpi5", "--quant", "Q4_0", "--json", "--params", "8e9", "--file-bytes", "4.5e9"]
    whole = json.loads(ask(*base, "--bytes", "4.5e9")[1])
    some = json.loads(ask(*base, "--bytes", "8e8", "--active-params", "1.5e9")[1])
    assert some["decode_tok_s"]["value"] > 4 * whole["decode_tok_s"]["value"]
    assert some["memory_mib"] == whole["memory_mib"]


def test_every_row_of_a_table_gets_an_answer_or_a_reason(tmp_path):
    changes = (
        {},
        {"id": "b", "device": "toaster"},
        {"id": "c", "file_size_gib": "9", "params_b": "16"},
        {"id": "d", "quant": ""},
    )
    _, output = ask("predict", "--rows", table(tmp_path, *changes), "--json")
    first, *others = json.loads(output)
    assert first["id"] == "a" and first["decode_tok_s"]["low"] < first["decode_tok_s"]["value"]
    assert [row["decode_tok_s"] for row in others] == [None, None, None]
    reasons = [row["reason"] for row in others]
    assert "toaster" in reasons[0] and "rpi5 has" in reasons[1] and "quantization" in reasons[2]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["predict"], "missing --target, --params, --bytes, --quant"),
        ([*ONE[:-1], "Q99"], "unknown quantization `Q99`"),
        ([*ONE, "--active-params", "2e9"], "--active-params 2,000,000,000 is more than --params 1,100,000,000"),
        ([*ONE[:-1], "Q4KM"], r"unknown quantization `Q4KM` \(did you mean `Q4_K`\?\)"),
        ([*ONE[:-1], "Q9_0"], r"unknown quantization `Q9_0` \(did you mean `Q\d_0`\?\)"),
        ([*ONE, "--prompt-tokens", "4096"], "--prompt-tokens 4,096 is more than --context 2,048"),
        (["predict", "--rows", "nowhere.csv"], "nowhere.csv cannot be read"),
    ],
)
def test_mistakes_are_told(arguments, problem):
    with pytest.raises(UsageError, match=problem):
        ask(*arguments)


def test_a_table_without_the_columns_is_refused(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("id,speed\n1,2\n")
    with pytest.raises(UsageError, match="lacks the column device, model, quant"):
        ask("predict", "--rows", str(path))


@pytest.mark.parametrize("form", ["one", "table"])
def test_it_imports_nothing_heavy(form, tmp_path):
    arguments = ONE if form == "one" else ["predict", "--rows", table(tmp_path, {})]
    code = f"""
import sys
from edgedistill.commands import predict
from edgedistill.cli import cli
cli.main({arguments!r}, standalone_mode=False)
heavy = {{"numpy", "scipy", "torch", "rich"}} | ({{"pydantic", "yaml"}} if {form!r} == "table" else set())
sys.exit(bool(heavy & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=tmp_path).returncode == 0
