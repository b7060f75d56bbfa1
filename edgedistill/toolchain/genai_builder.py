"""onnxruntime-genai's model builder in a process of its own: `subprocesses.run` with a request for `build`.

The builder prints past Python's logging, reads weights into torch, and asks git which commit it belongs to.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

from edgedistill.errors import UsageError
from edgedistill.files import read_json, write_json
from edgedistill.toolchain import subprocesses

KEPT = ("tokenizer.json", "chat_template.jinja", "special_tokens_map.json", "added_tokens.json")
"""Files of the model that the builder would write anew; the original goes in their place, byte for byte."""


def build(request: dict[str, Any]) -> dict[str, Any]:
    """Write a model in Hugging Face layout as ONNX, once for each of `builds`.

    request  model: folder; builds: each with `out`, a folder; `precision`: fp32, fp16, int8 or int4; `options`: of the
             builder, name -> text
    Raises   UsageError for a model that the builder does not know
    """
    for asked in request["builds"]:
        out = Path(asked["out"])
        part = out.with_name(f"{out.name}.part")  # under its own name it is whole, also where the next one fails
        write(Path(request["model"]), part, asked["precision"], asked["options"])
        part.rename(out)
    return {}


def write(model: Path, out: Path, precision: str, options: dict[str, str]) -> None:
    """One export: the graph, its data, and the configuration and tokenizer that the library reads."""
    builder = _builder()
    out.mkdir(parents=True)
    where = (None, str(model), str(out), precision, "cpu", str(out / "cache"))
    given = [f"{name}={value}" for name, value in {"hf_token": "false", **options}.items()]
    try:
        builder.create_model(*where, **builder.parse_extra_options(*where, given))
    except (NotImplementedError, ValueError) as error:
        raise UsageError(
            f"onnxruntime-genai's builder cannot export this model: {error}",
            "leave `onnx_genai` out of the recipe's `package`, or choose a student of another architecture",
        ) from error
    _restore(model, out)


@cache
def _builder() -> Any:
    # The package's own modules import each other by bare names.
    from importlib.util import find_spec

    found = find_spec("onnxruntime_genai")
    assert found is not None and found.origin is not None
    sys.path.append(os.path.join(os.path.dirname(found.origin), "models"))
    import builder
    from builders.base import Model

    # Else the file would name the commit of whatever repository the environment lies in.
    Model.get_genai_commit = classmethod(lambda kind: None)
    return builder


def _restore(model: Path, out: Path) -> None:
    for name in KEPT:
        (out / name).unlink(missing_ok=True)
        if (model / name).is_file():
            (out / name).write_bytes((model / name).read_bytes())
    settings = read_json(model / "tokenizer_config.json")
    if settings.get("tokenizer_class") == "TokenizersBackend":  # what transformers 5 writes, known to nobody else
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        write_json(out / "tokenizer_config.json", settings)
    else:
        (out / "tokenizer_config.json").write_bytes((model / "tokenizer_config.json").read_bytes())


if __name__ == "__main__":
    subprocesses.main(build)
