"""Quantizations by name: bits per weight, the kernel that reads them, and whether a build rearranges them for it."""

from __future__ import annotations

import difflib
import re

BITS = {
    "F32": 32.0, "F16": 16.0, "BF16": 16.0, "Q8_0": 8.5, "Q6_K": 6.5625, "Q5_K": 5.6, "Q5_1": 6.0, "Q5_0": 5.5,
    "Q4_K": 4.75, "Q4_1": 5.0, "Q4_0": 4.5, "Q3_K": 3.8, "Q2_K": 2.9, "IQ4": 4.4, "IQ3": 3.4, "IQ2": 2.4, "Q1_0": 1.2,
    "int8": 8.3, "int4": 4.5, "W4": 4.3, "W2": 2.3,
}  # fmt: skip
"""Bits per weight of a family's body; the mixtures (`_M`) take a little more for some tensors, which is in it."""

_HEAD_BITS = 6.5625
"""Of a tied embedding in a k-quant or Q4_0 file: llama.cpp stores the head as Q6_K."""

_OLLAMA_Q4_0 = ("llama2:", "qwen:1.8b", "phi3:", "tinyllama:", "mistral:7b")
"""Models whose default tag in Ollama's library is Q4_0; later ones default to Q4_K_M (ollama.com/library)."""


def family(quant: str, model: str = "") -> str | None:
    """`Q4_K_M` and `q4_k_m` -> `Q4_K`, `w8a8` -> `int8`; None for a name that says nothing."""
    name = re.sub(r"^UD-", "", quant, flags=re.IGNORECASE)
    if name == "ollama-default":
        return "Q4_0" if model.lower().startswith(_OLLAMA_Q4_0) else "Q4_K"
    if name == "Q40" or name.startswith(("Q4 (", "Q4_0_")):
        return "Q4_0"
    if (tag := re.search(r"\((Q\d_K)\w* label\)", name)) or (tag := _LLAMA_CPP.match(name)):
        return tag[1].upper() if tag[1].upper() in BITS else None
    if tag := re.match(r"(W[24])\b", name):
        # Before `w4a16`: T-MAC's W4 and W2 are written with a capital letter and nothing after it.
        return tag[1]
    if re.search(r"w8|q8|int8", name.lower()):
        return "int8"
    return "int4" if re.search(r"w4|q4f32|int4|4-bit", name.lower()) else None


def near(quant: str) -> str:
    """The kind that an unknown name may mean, as a question; nothing where none is like it."""
    kinds = {kind.upper(): kind for kind in BITS}
    found = difflib.get_close_matches(quant.upper(), kinds, n=1)
    return f" (did you mean `{kinds[found[0]]}`?)" if found else ""


_LLAMA_CPP = re.compile(r"(Q\d_K|Q\d_\d|B?F16|F32|IQ\d(?=_|\b))", re.IGNORECASE)
"""Its types, in whichever letters."""

_COMPARABLE = {"int4": "Q4_0", "int8": "Q8_0"}
"""Integers in blocks with a scale, as ONNX files have them -> llama.cpp's type of the same shape."""
_UNIFORM = ("F32", "F16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K")


def comparable(quant: str, bits: float) -> str:
    """The family whose factors predict a candidate, whichever its format.

    A mix of types, and a name that says nothing, are taken for the uniform type with the nearest bits per weight.
    """
    kind = None if quant.startswith("MIX_") else family(quant)
    if kind is None:
        return min(_UNIFORM, key=lambda uniform: abs(BITS[uniform] - bits))
    return _COMPARABLE.get(kind, kind)


def file_bytes(quant: str, parameters: float, tied_embedding: float) -> float:
    """Estimated size of a file. `tied_embedding`: weights of an embedding that is the head too, else 0."""
    head = tied_embedding if quant[:3] in ("Q4_", "Q5_", "Q3_", "Q2_") else 0.0
    return ((parameters - head) * BITS[quant] + head * _HEAD_BITS) / 8


def is_rearranged(quant: str, isa: str, built: float) -> bool:
    """Whether llama.cpp copies this type into a layout that its matrix kernels read faster.

    built   year and month of the build as 2025.5; repacking came type by type
    Source  ggml/src/ggml-cpu/repack.cpp and ggml-org/llama.cpp pull requests 9921, 10541, 16739, 18096, 18860, 18888
    """
    arm, x86 = isa in ("dotprod", "i8mm"), isa in ("avx2", "avx512")
    if quant in ("Q4_0", "IQ4_NL"):
        return (arm or x86) and built >= 2024.9
    if quant == "Q4_K":
        return (x86 and built >= 2024.9) or (arm and built >= 2025.9)
    if quant == "Q8_0":
        return isa == "i8mm" and built >= 2026.0
    return quant in ("Q5_K", "Q6_K") and arm and built >= 2026.15
