"""What llama.cpp assumes of a Gemma's attention, where config.json may say otherwise.

Gemma 2 and 3 state the scale of their queries (`query_pre_attn_scalar`) and which layers look at a window only
(`layer_types`). The converter writes neither, and llama.cpp takes the published sizes' values: one over the root of the
head size, and every second or sixth layer without a window. A model with other values would become another model.

Source  src/models/gemma2.cpp, gemma3.cpp and load_swa_pattern of the llama.cpp that llama-cpp-python 0.3.36 brings.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

_LAYERS_OF_27B = {"Gemma2ForCausalLM": 46, "Gemma3ForCausalLM": 62, "Gemma3ForConditionalGeneration": 62}
"""llama.cpp knows its exception, the 27B models, by their number of layers."""
_SCALED = {
    "Gemma2ForCausalLM": ".attn_q.weight",
    "Gemma3ForCausalLM": ".attn_q_norm.weight",
    "Gemma3ForConditionalGeneration": ".attn_q_norm.weight",
}
"""The last weights that the queries meet before they are scaled. Norms stay in float32, so the scale is as exact."""


def query_factor(architecture: str, config: dict[str, Any]) -> float:
    """What queries must be multiplied with, so that llama.cpp's own scale makes them the model's; mostly 1."""
    if architecture not in _LAYERS_OF_27B:
        return 1.0
    inner = config.get("text_config") or config
    assumed = inner.get("head_dim", 256)
    if inner["num_hidden_layers"] == _LAYERS_OF_27B[architecture]:
        assumed = inner["hidden_size"] // inner.get("num_attention_heads", 8)
    return math.sqrt(assumed / inner.get("query_pre_attn_scalar", 256))


def lay_over(kind: Any, architecture: str, config: dict[str, Any]) -> None:
    """Have a converter's class write the model's own attention."""
    if architecture not in _SCALED:
        return
    factor, scaled = query_factor(architecture, config), _SCALED[architecture]
    layer_types = (config.get("text_config") or config).get("layer_types") or []
    modify, describe = kind.modify_tensors, kind.set_gguf_parameters

    def modify_tensors(model: Any, tensor: Any, name: str, layer: int | None) -> Iterable[tuple[str, Any]]:
        for written, data in modify(model, tensor, name, layer):
            yield written, data * factor if factor != 1 and written.endswith(scaled) else data

    def set_gguf_parameters(model: Any) -> None:
        describe(model)
        if "sliding_attention" in layer_types:
            model.gguf_writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in layer_types])
        elif layer_types:
            # llama.cpp aborts on a pattern without windows. A window of 0 is none, but Gemma 2 always has one there.
            whole = model.hparams["max_position_embeddings"]
            model.gguf_writer.add_sliding_window(whole if architecture == "Gemma2ForCausalLM" else 0)

    kind.modify_tensors, kind.set_gguf_parameters = modify_tensors, set_gguf_parameters
