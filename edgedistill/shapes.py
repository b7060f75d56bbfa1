"""The tensors of a model that is not downloaded yet, from the few numbers that its config.json has.

For the family of decoders that share one layout: Llama, Mistral, Qwen2 and Gemma (RMS norms, gated MLP, grouped heads).
"""

from __future__ import annotations

from edgedistill.models import Shape
from edgedistill.sections import ShapeFacts

KNOWN = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "GemmaForCausalLM")
"""Architectures whose layout this is."""


def stated(facts: ShapeFacts) -> Shape | None:
    """The shape that a recipe states; None for an architecture whose layout is not known here."""
    if facts.architecture not in KNOWN:
        return None
    tensors: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (facts.vocab, facts.hidden)}
    for layer in range(facts.layers):
        tensors |= {f"model.layers.{layer}.{name}": size for name, size in _layer(facts).items()}
    tensors["model.norm.weight"] = (facts.hidden,)
    if not facts.tied:
        tensors["lm_head.weight"] = (facts.vocab, facts.hidden)
    return Shape(
        architecture=facts.architecture,
        layers=facts.layers,
        hidden=facts.hidden,
        kv_heads=facts.kv_heads,
        head_size=facts.head_size,
        vocab=facts.vocab,
        tied=facts.tied,
        tensors=tensors,
    )


def _layer(facts: ShapeFacts) -> dict[str, tuple[int, ...]]:
    """Name -> dimensions (out, in) of one layer."""
    queries, keys = facts.heads * facts.head_size, facts.kv_heads * facts.head_size
    tensors: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj.weight": (queries, facts.hidden),
        "self_attn.k_proj.weight": (keys, facts.hidden),
        "self_attn.v_proj.weight": (keys, facts.hidden),
        "self_attn.o_proj.weight": (facts.hidden, queries),
        "mlp.gate_proj.weight": (facts.intermediate, facts.hidden),
        "mlp.up_proj.weight": (facts.intermediate, facts.hidden),
        "mlp.down_proj.weight": (facts.hidden, facts.intermediate),
        "input_layernorm.weight": (facts.hidden,),
        "post_attention_layernorm.weight": (facts.hidden,),
    }
    if facts.attention_bias:
        tensors |= {
            "self_attn.q_proj.bias": (queries,),
            "self_attn.k_proj.bias": (keys,),
            "self_attn.v_proj.bias": (keys,),
        }
    return tensors
