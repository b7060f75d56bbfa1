"""A model over several devices says what it says on one. Without a GPU, main memory and disk stand in for several, and
devices that only check where tensors are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgedistill import placement
from edgedistill.engine import open_engine, user
from edgedistill.engines.hf import HfEngine
from edgedistill.errors import UsageError
from edgedistill.models import Loading, Model
from edgedistill.placement import Machine

torch = pytest.importorskip("torch")

HEAD = "Question: Turn on the radio.\nAnswer: Let's think step by step. It is radio. <ans>radio</ans>\n\n" * 3
ASKED = [user(f"{HEAD}Question: {question}\nAnswer:") for question in ("Is it true?", "the weather", "a", "yes")]
ANSWERS = ["<ans>yes</ans>", "no", "<ans>12</ans>", "it is"]


def said(engine: HfEngine) -> tuple[list[str], list[list[float]]]:
    return engine.generate(ASKED, max_tokens=16), engine.answer_log_probs(ASKED, ANSWERS)


@pytest.mark.parametrize("name", ["tiny_llama", "tiny_qwen2", "tiny_gemma"])
def test_layers_on_disk_change_no_token(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Room for half of the weights in main memory; where the tied embedding leaves none of it, all are on disk."""
    from edgedistill.ml.decode import Decoder
    from edgedistill.ml.loading import opened

    folder: Path = request.getfixturevalue(name)
    half = placement.weights_of(name, Model(folder, "").shape(), "float32", is_4bit=False).size // 2
    placed: dict[str, Any] = {"device_map": "auto", "max_memory": {"cpu": half}, "offload_folder": str(tmp_path)}
    spread = opened(folder, torch.float32, placed)
    places = set(spread.hf_device_map.values())
    assert places == ({"cpu", "disk"} if name == "tiny_llama" else {"disk"})
    with open_engine(Model(folder, "whole")) as whole:
        assert isinstance(whole, HfEngine)
        expected = said(whole)
    assert said(HfEngine(Decoder(folder, spread))) == expected


def test_a_model_in_4_bits_says_what_transformers_says(tiny_llama: Path) -> None:
    from edgedistill.ml.loading import load, opened

    model = Model(tiny_llama, "4 bits", loading=Loading(load_in_4bit=True))
    ids = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])
    with open_engine(model) as engine, torch.inference_mode():
        assert isinstance(engine, HfEngine)
        kinds = {type(module).__name__ for module in engine.decoder.model.modules()}
        assert "Linear4bit" in kinds
        rows = ids.tolist()
        found = engine.decoder.first_token_logits(rows)
        texts, likely = said(engine)
        alone = opened(tiny_llama, torch.float32, {"device_map": {"": "cpu"}}, is_4bit=True)
        assert torch.allclose(found, alone(ids).logits[:, -1].float(), atol=1e-3)
        whole = load(Model(tiny_llama, "whole"))
        assert not torch.allclose(found, whole(ids).logits[:, -1].float(), atol=1e-3)
    assert len(texts) == len(likely) == len(ASKED)


def test_the_recipe_says_in_which_type(tiny_llama: Path) -> None:
    from edgedistill.ml.loading import load

    assert load(Model(tiny_llama, "")).dtype == torch.float32
    assert load(Model(tiny_llama, "", loading=Loading(dtype="bfloat16"))).dtype == torch.bfloat16


@pytest.mark.parametrize("loading", [Loading(dtype="bfloat16"), Loading(dtype="float16"), Loading(load_in_4bit=True)])
def test_coarser_numbers_are_no_reason_to_refuse_a_model(loading: Loading) -> None:
    """The embedded teacher's logits move by up to 2% with the number of rows, where float32 moves by a millionth."""
    folder = Path(__file__).resolve().parents[2] / "recipes" / "quickstart" / "models" / "teacher"
    with open_engine(Model(folder, "", loading=loading)) as engine:
        assert all(engine.generate(ASKED, max_tokens=4))


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgedistill.ml import loading

    parameters = Model(tiny_llama, "").shape().parameters
    monkeypatch.setattr(loading, "machine", lambda: Machine((), 4 * parameters - 1))
    monkeypatch.setattr(loading, "opened", lambda *given, **more: pytest.fail("was loaded"))
    told = rf"tiny in float32 takes {4 * parameters / 2**20:.1f} MiB; the main memory has"
    with pytest.raises(UsageError, match=told):
        loading.load(Model(tiny_llama, "", name="tiny"))


def test_the_devices_of_a_map_begin_with_the_embeddings() -> None:
    from types import SimpleNamespace

    from edgedistill.ml.loading import devices

    over_two = SimpleNamespace(hf_device_map={"model.embed_tokens": 0, "model.layers.0": 0, "model.layers.1": 1})
    assert devices(over_two) == [torch.device("cuda", 0), torch.device("cuda", 1)]
    beside_main = SimpleNamespace(hf_device_map={"model.embed_tokens": 0, "model.layers.0": "cpu", "lm_head": "disk"})
    assert devices(beside_main) == [torch.device("cuda", 0)]
    assert devices(SimpleNamespace(device=torch.device("cpu"))) == [torch.device("cpu")]


def test_keys_values_and_masks_follow_the_layers_over_two_devices() -> None:
    """Tensors without numbers on two made-up devices, which refuse every operation that mixes them, as two GPUs would.
    A prefix, rows that share it, a further token: a layer's block is where the layer is, and the logits come back."""
    told = subprocess.run([sys.executable, "-c", ON_TWO_DEVICES], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr[-3000:]
    assert told.stdout.split() == ["0011", "(1,1,320)", "0", "0011", "(3,1,320)", "0", "0011", "(3,1,320)", "0"]


ON_TWO_DEVICES = """
import torch, warnings
warnings.simplefilter("ignore")
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import LlamaConfig, LlamaForCausalLM
from edgedistill.ml.decode import Decoder
from edgedistill.ml.shared_prefix import ATTENTION, KeyValues, Prefix

torch.utils.backend_registration._setup_privateuseone_for_python_backend()
FIRST, SECOND = (torch.device("privateuseone", index) for index in (0, 1))
HEADS = dict(num_attention_heads=4, num_key_value_heads=2)
config = LlamaConfig(vocab_size=320, hidden_size=64, intermediate_size=128, num_hidden_layers=4, **HEADS)
with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
    model = LlamaForCausalLM(config).eval()
    model.set_attn_implementation(ATTENTION)
    on_second = [*model.model.layers[2:], model.model.norm, model.lm_head]
    held = {id(inner) for part in on_second for inner in part.modules()}
    for module in model.modules():
        place = SECOND if id(module) in held else FIRST
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = torch.nn.Parameter(weight.detach().to(place), requires_grad=False)
        for name, buffer in module._buffers.items():
            module._buffers[name] = buffer.to(place)
    def hook(part, place, **more):  # what accelerate attaches to the parts of a device map
        skip = model._skip_keys_device_placement
        add_hook_to_module(part, AlignDevicesHook(place, skip_keys=skip, place_submodules=False, **more))
    for part in model.model.layers[:2]:
        hook(part, FIRST)
    for part in on_second:
        hook(part, SECOND)
    hook(model, FIRST, io_same_device=True)
    decoder = Decoder.__new__(Decoder)
    decoder.model, decoder.device = model, FIRST

    def forward(rows, begin, tokens, cache):
        ids = torch.zeros(rows, tokens, dtype=torch.long).to(FIRST)
        positions = torch.arange(begin, begin + tokens).repeat(rows, 1).to(FIRST)
        logits = decoder.forward(ids, positions, cache)
        blocks = "".join(str(block.device.index) for block in cache.keys)
        print(blocks, str(tuple(logits.shape)).replace(" ", ""), logits.device.index)

    alone = KeyValues([Prefix()], [1], FIRST)
    forward(1, 0, 12, alone)
    prefix = alone.as_prefix()
    part = KeyValues([prefix], [3], FIRST)
    forward(3, 12, 5, part)
    whole = KeyValues([prefix], [3], FIRST)
    whole.take(part, slice(0, 3), 5)
    forward(3, 17, 1, whole)
"""
