"""Runs in the environment that toolchain/optimum.py makes, by its path: nothing of edgedistill can be imported here.

    python -I optimum_export.py REQUEST.json

REQUEST.json: {"model": folder, "out": folder, "int8": [{"out": folder, "per_channel": bool}, …]}. It leaves the float
graph with its KV cache in `out`, and copies with 8-bit weights, whose inputs are quantized as they come, in the others.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

GRAPH = "model.onnx"


def main(request: dict[str, Any]) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from optimum.exporters.onnx import main_export

    main_export(
        request["model"],
        output=request["out"],
        task="text-generation-with-past",
        device="cpu",
        dtype="fp32",
        trust_remote_code=False,
        do_validation=False,  # the caller compares answers, not numbers
    )
    graph = Path(request["out"]) / GRAPH
    for wanted in request["int8"]:
        to = Path(wanted["out"])
        to.mkdir(parents=True)
        quantize_dynamic(
            graph, to / GRAPH, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8,
            per_channel=wanted["per_channel"], use_external_data_format=any(graph.parent.glob(f"{GRAPH}_data")),
        )  # fmt: skip


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
