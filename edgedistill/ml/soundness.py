"""Is a model's folder a whole model: every tensor that its architecture needs, each a number everywhere?

transformers fills a tensor that is missing, or has another size, with random numbers and goes on; a converter writes
NaN as it writes any number. So both are looked for before anything is exported. A flipped bit that leaves a number is
beyond what weights alone can tell: the key of a model, a hash of its files, is what shows that.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from edgedistill.errors import UsageError
from edgedistill.models import Model

_CHUNK = 1 << 24
"""Numbers that are looked at together."""
_SHOWN = 5


def check(model: Model) -> None:
    """Refuse a model that is not whole. Reads every weight once, and holds one tensor at a time.

    Raises  UsageError that names the tensors, or the architecture that transformers does not know
    """
    problems = [*_missing(model), *_no_numbers(model)]
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems[:_SHOWN])
        more = f"\n  … and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise UsageError(
            f"student model {model.path} is not whole\n{lines}{more}",
            "fetch or save the model again; a training that ended in NaN needs a smaller learning rate",
        )


def _missing(model: Model) -> Iterator[str]:
    """Tensors that transformers would make up: they are loaded onto the device that holds no numbers."""
    info = _loading_info(model)
    yield from (f"tensor {name} is missing" for name in sorted(info["missing_keys"]))
    for name, stored, wanted in sorted(info["mismatched_keys"], key=str):
        yield f"tensor {name} has the shape {tuple(stored)}, the architecture needs {tuple(wanted)}"
    yield from info["error_msgs"]


def _loading_info(model: Model) -> dict[str, Any]:
    usual = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        # It prints a report of its own, in color, about what we say below.
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            _, info = AutoModelForCausalLM.from_pretrained(
                model.path,
                device_map={"": "meta"},
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
            )
    except (ValueError, LookupError, TypeError, OSError, RuntimeError, SafetensorError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(
            f"student model {model.path} ({model.shape().architecture}) cannot be opened: {said}",
            "mend the folder, or choose a model whose architecture this version of transformers knows",
        ) from error
    finally:
        transformers_logging.set_verbosity(usual)
    return dict(info)


def _no_numbers(model: Model) -> Iterator[str]:
    for file in sorted(model.path.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  not a dict, it has no other iterator
                tensor = tensors.get_tensor(name)
                if tensor.is_floating_point() and (count := _not_finite(tensor)):
                    yield f"tensor {name} holds {count:,} NaN or infinite numbers of {tensor.numel():,}"


def _not_finite(tensor: torch.Tensor) -> int:
    return sum(int((~torch.isfinite(part)).sum()) for part in tensor.reshape(-1).split(_CHUNK))
