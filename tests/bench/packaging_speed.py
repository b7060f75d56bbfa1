"""How fast candidates are made and judged, against llama.cpp's own tools and the binding's own loop: prints a table.

    python tests/bench/packaging_speed.py                     everything, about an hour on 2 cores
    python tests/bench/packaging_speed.py convert disk        these parts only
    SMALL=1 python tests/bench/packaging_speed.py             a model of 19 million parameters, to try the script

The model is a Llama of 0.5 billion random weights with the embedded student's tokenizer, made at the start. The tools
are built once by `python tests/bench/llama_tools.py`; without them their rows are left out with that reason. Both sides
of a row take turns, each in a process of its own, and the ratio is the median over the rounds with the range in
brackets. Memory is the largest sum of a side's processes, sampled every 20 ms; what processes share counts once (PSS).
Run it on an idle machine. ROUNDS, ITEMS and CHUNKS in the environment make it shorter.

    convert    Hugging Face folder -> Q4_K_M: the exporter against convert_hf_to_gguf.py and then llama-quantize
    several    F16, Q8_0, Q4_K_M and Q4_0 from one conversion, against the same tools
    imatrix    64 rows of 512 tokens: torch hooks against llama-imatrix
    evaluate   500 short items in Q4_K_M: the engine against `Llama.create_completion`, one by one
    disk       most bytes that an export ever has on disk, and what a failed one leaves
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

import click
import llama_tools
import psutil

from edgedistill.engine import user
from edgedistill.exporters import gguf, onnx_genai
from edgedistill.files import read_rows
from edgedistill.models import Model
from edgedistill.prompts import plain_prompt
from edgedistill.table import lines
from edgedistill.toolchain.llama_cpp import llama_cpp_sources

REPO = Path(__file__).parents[2]
STUDENT = REPO / "recipes" / "quickstart" / "models" / "student"
IS_SMALL = bool(os.environ.get("SMALL"))
LAYERS, WIDTH = (4, 512) if IS_SMALL else (30, 1024)
ROUNDS = int(os.environ.get("ROUNDS") or (1 if IS_SMALL else 3))
ITEMS, NEW_TOKENS = int(os.environ.get("ITEMS") or (20 if IS_SMALL else 500)), 16 if IS_SMALL else 24
CHUNKS, CHUNK = int(os.environ.get("CHUNKS") or (4 if IS_SMALL else 64)), 512
SEVERAL = ("F16", "Q8_0", "Q4_K_M", "Q4_0")
MIB = 1 << 20
THREADS = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))

Row = tuple[str, ...]
Command = list[str]


def main(parts: Sequence[str]) -> None:
    chosen = parts or tuple(PARTS)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="packaging-speed-") as folder:
        model = make_model(Path(folder) / "model")
        size = float_bytes(model) / MIB
        for part in chosen:
            rows += PARTS[part](model, Path(folder))
    print(f"\n{THREADS} threads, model of {size:,.0f} MiB, load {os.getloadavg()[0]:.1f}, {ROUNDS} rounds\n")
    print(click.unstyle("\n".join(lines(("what", "ours", "theirs", "ratio", "goal"), rows))))


def make_model(folder: Path) -> Path:
    """Random weights, wide enough that the likeliest token is clear of the second."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(STUDENT / name, folder / name)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(20261121)
    sizes = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": LAYERS}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = LlamaConfig(
        **sizes,
        **ids,
        num_attention_heads=WIDTH // 64,
        num_key_value_heads=WIDTH // 64,
        vocab_size=len(tokenizer),
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        initializer_range=0.06,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder, max_shard_size="500MB")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(STUDENT / name, folder / name)  # as they were: saving may rewrite them
    return folder


def convert(model: Path, folder: Path) -> list[Row]:
    return _against_tools("convert + Q4_K_M", model, folder, ("Q4_K_M",), "1.15x")


def several(model: Path, folder: Path) -> list[Row]:
    return _against_tools(f"{len(SEVERAL)} types", model, folder, SEVERAL, "one conversion")


def _against_tools(what: str, model: Path, folder: Path, quants: Sequence[str], goal: str) -> list[Row]:
    tool = llama_tools.find("llama-quantize")
    if tool is None:
        return [(what, "", "", "", "left out: run tests/bench/llama_tools.py first")]
    ours, theirs = folder / "ours", folder / "theirs"

    def export() -> Measured:
        shutil.rmtree(ours, ignore_errors=True)
        return watched([self_command("export", ours, model, *quants)])

    def tools() -> Measured:
        shutil.rmtree(theirs, ignore_errors=True)
        theirs.mkdir()
        f16 = theirs / "f16.gguf"
        made = [self_command("stock-converter", model, f16)]
        for quant in quants:
            if quant != "F16":
                made.append([str(tool), str(f16), str(theirs / f"{quant}.gguf"), quant, str(THREADS)])
        return watched(made)

    found = in_turns(export, tools)
    assert sorted(path.stat().st_size for path in ours.glob("*.gguf")), "nothing was exported"
    times = ratio_row(f"{what}, time", found, lambda one: one.seconds, "s", f"<= {goal}" if "x" in goal else goal)
    memory = ratio_row(f"{what}, memory", found, lambda one: one.peak / MIB, "MiB", "<= 1.1x")
    return [times, memory]


def imatrix(model: Path, folder: Path) -> list[Row]:
    what, tool = f"imatrix, {CHUNKS} x {CHUNK} tokens", llama_tools.find("llama-imatrix")
    if tool is None:
        return [(what, "", "", "", "left out: run tests/bench/llama_tools.py first")]
    source, text, out = folder / "imatrix-f16.gguf", folder / "text.txt", folder / "theirs.imatrix.gguf"
    gguf.export_float(Model(model, "bench"), source)
    words = " ".join(row["question"] for row in read_rows(REPO / "recipes" / "quickstart" / "home" / "test.jsonl"))
    text.write_text((words + "\n") * (CHUNKS * CHUNK * 8 // len(words) + 1))
    own = self_command("imatrix", model, folder / "ours.imatrix.gguf", text)
    theirs = [str(tool), "-m", str(source), "-f", str(text), "-o", str(out), "-c", str(CHUNK), "-t", str(THREADS)]
    theirs += ["--chunks", str(CHUNKS), "--no-ppl"]
    found = in_turns(lambda: watched([own]), lambda: watched([theirs]))
    source.unlink()
    return [
        ratio_row(f"{what}, time", found, lambda one: one.seconds, "s", "<= 1.5x"),
        ratio_row(f"{what}, memory", found, lambda one: one.peak / MIB, "MiB", ""),
    ]


def evaluate(model: Path, folder: Path) -> list[Row]:
    """Speed with the random weights, whose next tokens are too close to each other for texts to be compared; speed and
    answers with the embedded student."""
    return [
        *_evaluated(f"evaluate {ITEMS} items", model, folder / "evaluated", "Q4_K_M", ">= 3x")[:1],
        *_evaluated(f"evaluate {ITEMS} items, embedded student", STUDENT, folder / "evaluated-student", "Q8_0", ""),
    ]


def _evaluated(what: str, model: Path, out: Path, quant: str, goal: str) -> list[Row]:
    gguf.export(out, Model(model, "bench"), gguf.Config.model_validate({"quants": [quant]}))
    file = out / f"model-{quant.lower()}.gguf"
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
    for _ in range(ROUNDS):
        for way, runs in found.items():
            done = subprocess.run(self_command(f"answer-{way}", file), check=True, stdout=subprocess.PIPE)
            runs.append(json.loads(done.stdout))
    ratios = [b["seconds"] / a["seconds"] for a, b in zip(found["ours"], found["theirs"], strict=True)]
    ours, theirs = (runs[0]["answers"] for runs in found.values())
    equal = sum(a == b for a, b in zip(ours, theirs, strict=True))
    rate = [f"{ITEMS / median(one['seconds'] for one in runs):.2f} items/s" for runs in found.values()]
    return [
        (what, *rate, _spread(ratios), goal),
        ("equal answers", f"{equal}", f"{ITEMS}", f"{equal / ITEMS:.3f}", "1, but for ties of rounding"),
    ]


def disk(model: Path, folder: Path) -> list[Row]:
    """An export of which the float file is no candidate, one of which it is, one to ONNX, whose float file has 32 bits,
    and one that fails in the middle."""
    rows: list[Row] = []
    for what, quants in (("without F16", ("Q8_0", "Q4_K_M")), ("with F16", SEVERAL)):
        out = folder / "disk"
        shutil.rmtree(out, ignore_errors=True)
        most = watched([self_command("export", out, model, *quants)], disk=out).disk
        kept = sum(path.stat().st_size for path in out.glob("*.gguf"))
        rows.append(_disk_row(what, most, kept))
    out = folder / "onnx"
    most = watched([self_command("export-onnx", out, model)], disk=out).disk
    rows.append(_disk_row("ONNX", most, _on_disk(out)))
    out = folder / "failed"
    failed = subprocess.run(
        self_command("export-with-little-room", out, model, "Q8_0", "Q4_K_M"), stderr=subprocess.DEVNULL
    )
    left = [path for path in out.rglob("*") if path.is_file() and path.stat().st_size > 0] if out.is_dir() else []
    assert failed.returncode != 0, "there was room for all of it"
    rows.append(("a failed candidate leaves", f"{len(left)} files", "", "", "0"))
    return rows


def _disk_row(what: str, most: int, kept: int) -> Row:
    """kept  bytes of the float file and the candidates"""
    return f"disk, {what}", f"{most / MIB:,.0f} MiB", f"{kept / MIB:,.0f} MiB", f"{most / kept:.3f}x", "<= 1x"


PARTS: dict[str, Callable[[Path, Path], list[Row]]] = {
    part.__name__: part for part in (convert, several, imatrix, evaluate, disk)
}


def float_bytes(model: Path) -> int:
    """The F16 file weighs what the 16-bit safetensors do; its vocabulary beside them is left out."""
    return sum(path.stat().st_size for path in model.glob("*.safetensors"))


class Measured:
    """What one side took."""

    def __init__(self, seconds: float, peak: int, disk: int) -> None:
        self.seconds, self.peak, self.disk = seconds, peak, disk


def in_turns(ours: Callable[[], Measured], theirs: Callable[[], Measured]) -> list[tuple[Measured, Measured]]:
    return [(ours(), theirs()) for _ in range(ROUNDS)]


def ratio_row(
    what: str, found: list[tuple[Measured, Measured]], value: Callable[[Measured], float], unit: str, goal: str
) -> Row:
    sides = [f"{median(value(pair[side]) for pair in found):,.1f} {unit}" for side in (0, 1)]
    return (what, *sides, _spread([value(one) / value(other) for one, other in found]), goal)


def _spread(ratios: Sequence[float]) -> str:
    return f"{median(ratios):.2f}x ({min(ratios):.2f}-{max(ratios):.2f})"


def watched(commands: Sequence[Command], disk: Path | None = None) -> Measured:
    """Run commands one after the other: seconds, most memory of their processes together, most bytes below `disk`."""
    begun, peak, most = time.monotonic(), 0, 0
    for command in commands:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert process.stderr
        said: list[bytes] = []
        reader = threading.Thread(target=lambda stream=process.stderr, said=said: said.append(stream.read()))
        reader.start()
        while process.poll() is None:
            peak = max(peak, _memory(process.pid))
            most = max(most, _on_disk(disk)) if disk else 0
            time.sleep(0.02)
        reader.join()
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}\n{said[0].decode()[-2000:]}")
    return Measured(time.monotonic() - begun, peak, most)


def _memory(pid: int) -> int:
    total = 0
    try:
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            total += one.memory_full_info().pss
    except psutil.NoSuchProcess:
        pass  # ended while we looked
    return total


def _on_disk(folder: Path) -> int:
    """Bytes of all files; the links to the model's weights take no room."""
    total = 0
    for place, _, names in os.walk(folder):  # unlike rglob, it passes over folders that go while we look
        for name in names:
            try:
                found = os.lstat(Path(place, name))
            except FileNotFoundError:
                continue  # renamed or removed
            if found.st_nlink == 1:
                total += min(found.st_size, found.st_blocks * 512)
    return total


def self_command(name: str, *arguments: object) -> Command:
    """This script in another process, doing one side's work."""
    return [sys.executable, __file__, f"_{name}", *map(str, arguments)]


def export(out: str, model: str, *quants: str) -> None:
    config = gguf.Config.model_validate({"quants": list(quants)})
    gguf.export(Path(out), Model(Path(model), "bench"), config)


def export_onnx(out: str, model: str) -> None:
    wanted = {"quants": ["F32", "INT4"], "block_size": [32], "algorithm": ["rtn"], "accuracy_level": [4]}
    config = onnx_genai.Config.model_validate(wanted)
    onnx_genai.export(Path(out), Model(Path(model), "bench"), config)


def export_with_little_room(out: str, model: str, *quants: str) -> None:
    """No file may become larger than six tenths of the float one: the conversion fails while it is written."""
    room = int(0.6 * float_bytes(Path(model)))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    done = subprocess.run(self_command("export", out, model, *quants), preexec_fn=limit)
    raise SystemExit(done.returncode)


def stock_converter(model: str, out: str) -> None:
    """convert_hf_to_gguf.py as it is, but that it takes the tokenizer, which it does not know, for GPT-2's."""
    import runpy

    sources = llama_cpp_sources()
    sys.path[:0] = [str(sources), str(sources / "gguf-py")]
    import conversion.base as base

    base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
    sys.argv = ["convert_hf_to_gguf.py", model, "--outfile", out, "--outtype", "f16"]
    runpy.run_path(str(sources / "convert_hf_to_gguf.py"), run_name="__main__")


def own_imatrix(model: str, out: str, text: str) -> None:
    from transformers import AutoTokenizer

    from edgedistill import imatrix_file
    from edgedistill.ml import calibration

    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    ids = tokenizer(Path(text).read_text(), add_special_tokens=False)["input_ids"]
    rows = [ids[start : start + CHUNK] for start in range(0, CHUNKS * CHUNK, CHUNK)]
    with calibration.opened(Model(Path(model), "bench")) as opened:
        found = calibration.importance(opened, Path(model), rows)
    imatrix_file.write(Path(out), found, source="text", chunk_tokens=CHUNK)


def _conversations() -> list[Any]:
    items = list(read_rows(REPO / "recipes" / "quickstart" / "home" / "test.jsonl")) * 2
    return [user(plain_prompt("Turn the command into a JSON action.", row["question"])) for row in items[:ITEMS]]


def answer_ours(file: str) -> None:
    from edgedistill.engines import llama

    with llama.open_file(Path(file), context=512, threads=THREADS) as engine:
        said = _conversations()
        engine.generate(said[:2], max_tokens=2)
        begun = time.monotonic()
        answers = engine.generate(said, max_tokens=NEW_TOKENS)
        print(json.dumps({"seconds": time.monotonic() - begun, "answers": answers}))


def answer_theirs(file: str) -> None:
    from llama_cpp import Llama

    from edgedistill.engines import llama

    said = _conversations()
    with llama.open_file(Path(file), context=512, threads=THREADS) as engine:
        # As ids: given a text, the binding would put a second begin token before it.
        prompts = [engine.token_ids(messages) for messages in said]
    model = Llama(file, n_ctx=512, n_threads=THREADS, n_threads_batch=THREADS, verbose=False)

    def answer(prompt: list[int]) -> str:
        done: Any = model.create_completion(prompt, max_tokens=NEW_TOKENS, temperature=0.0)
        return str(done["choices"][0]["text"])

    answer(prompts[0])
    begun = time.monotonic()
    answers = [answer(prompt) for prompt in prompts]
    print(json.dumps({"seconds": time.monotonic() - begun, "answers": answers}))


SIDES: dict[str, Callable[..., None]] = {
    "_export": export,
    "_export-onnx": export_onnx,
    "_export-with-little-room": export_with_little_room,
    "_stock-converter": stock_converter,
    "_imatrix": own_imatrix,
    "_answer-ours": answer_ours,
    "_answer-theirs": answer_theirs,
}


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in SIDES:
        SIDES[sys.argv[1]](*sys.argv[2:])
    else:
        unknown = set(sys.argv[1:]) - PARTS.keys()
        if unknown:
            raise SystemExit(f"no part named {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
        main(sys.argv[1:])
