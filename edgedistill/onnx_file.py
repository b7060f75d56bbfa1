"""What an exported ONNX folder holds: types, parameters and bytes of its weights, read back from the graph.

A quantized weight is three or four arrays (packed numbers, scales, zero points) that one node puts together, so the
graph says what they are: `MatMulNBits` in com.microsoft, and the integer matrix products of dynamic quantization.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill import models
from edgedistill.artifacts import Candidate
from edgedistill.errors import IntegrityError
from edgedistill.files import read_json, sha256_of_all, size_of
from edgedistill.quantization import type_counts

GRAPH = "model.onnx"

_FLOATS = {1: "F32", 10: "F16", 16: "BF16"}
"""TensorProto.DataType -> type, as GGUF names it."""
_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 16: 2, 21: 0.5, 22: 0.5}
"""Of one element."""
_UINT8 = 2
_TABLES = ("cos_cache", "sin_cache", "inv_freq")
"""What is computed from the settings and no weight of the model."""
_LOOKUPS = ("Gather", "GatherBlockQuantized")
"""Nodes that read single rows of what they are given."""


@dataclass(frozen=True)
class Weight:
    """One matrix or vector of the model, with all arrays that hold it."""

    type: str
    parameters: int
    bytes: int
    block_size: int = 0
    """Of `MatMulNBits`: numbers that share a scale."""
    accuracy_level: int = 0
    """Of `MatMulNBits`: 4 computes with 8-bit integers, 1 in float32."""
    is_looked_up: bool = False
    """Only single rows are read: an input embedding that is not the head too."""
    is_matrix: bool = True


@dataclass(frozen=True)
class OnnxFile:
    """The weights of a graph, by the name of the array with their numbers."""

    weights: dict[str, Weight]

    @property
    def parameters(self) -> int:
        return sum(weight.parameters for weight in self.weights.values())

    @property
    def matrix_parameters(self) -> int:
        return sum(weight.parameters for weight in self.weights.values() if weight.is_matrix)

    @property
    def tensor_bytes(self) -> int:
        return sum(weight.bytes for weight in self.weights.values())

    @property
    def read_bytes(self) -> int:
        """Bytes that one decoded token reads."""
        return sum(weight.bytes for weight in self.weights.values() if not weight.is_looked_up)

    @property
    def bits_per_weight(self) -> float:
        return round(8 * self.tensor_bytes / self.parameters, 4)

    @property
    def types(self) -> dict[str, str]:
        return {name: weight.type for name, weight in self.weights.items()}


def read(folder: Path) -> OnnxFile:
    """Raises IntegrityError for a graph that cannot be read, or whose data file is too short."""
    import google.protobuf.message
    import onnx

    path = folder / GRAPH
    try:
        return _weights(folder, onnx.load(str(path), load_external_data=False).graph)
    except (OSError, google.protobuf.message.DecodeError, LookupError, ValueError, TypeError, ArithmeticError) as error:
        # What a flipped bit leaves may parse, and lack a size, a name or an attribute.
        said = f"{type(error).__name__}: {error}"
        raise IntegrityError(f"{path} is not an ONNX file, or damaged: {said}", "export it again") from error


def _weights(folder: Path, graph: Any) -> OnnxFile:
    path = folder / GRAPH
    arrays = {array.name: array for array in graph.initializer}
    if not arrays:
        raise IntegrityError(f"{path} holds no weights", "export it again")
    _check_data(folder, arrays)
    weights = dict(_packed(graph, arrays))
    used = {name for node in graph.node if _holds(node, weights) for name in node.input}
    for name, array in arrays.items():
        if name not in used and array.data_type in _FLOATS and array.dims and not any(t in name for t in _TABLES):
            kind, count = _FLOATS[array.data_type], math.prod(array.dims)
            is_looked_up = all(node.op_type in _LOOKUPS for node in graph.node if name in node.input)
            is_matrix = len(array.dims) > 1
            weights[name] = Weight(kind, count, _size(array), is_looked_up=is_looked_up, is_matrix=is_matrix)
    if not sum(weight.parameters for weight in weights.values()):
        raise IntegrityError(f"{path} holds no weights", "export it again")
    return OnnxFile(weights)


def candidate(folder: Path, format_name: str, quant: str) -> Candidate:
    """What a finished export is listed as."""
    found = read(folder)
    return Candidate(
        format=format_name,
        quant=quant,
        file=folder.name,
        bytes=size_of(folder),
        sha256=sha256_of_all(folder),
        tensor_types=type_counts(found.types),
        bits_per_weight=found.bits_per_weight,
        parameters=found.parameters,
        read_bytes=found.read_bytes,
    )


def matrix_parameters_of(model: Path) -> int:
    """Numbers in the matrices that an export of a model in Hugging Face layout must hold: without a stored head that
    the settings tie to the embedding. Vectors are not counted: exporters write equal ones once."""
    is_tied = read_json(model / "config.json").get("tie_word_embeddings")
    tensors = models.shape_of(model).tensors.items()
    held = (size for name, size in tensors if len(size) > 1 and not (is_tied and name == "lm_head.weight"))
    return sum(map(math.prod, held))


def set_accuracy_level(folder: Path, level: int) -> None:
    """Let every `MatMulNBits` compute at another accuracy; the weights stay as they are."""
    import onnx

    path = folder / GRAPH
    model = onnx.load(str(path), load_external_data=False)
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "MatMulNBits" and attribute.name == "accuracy_level":
                attribute.i = level
    onnx.save(model, str(path))


def _holds(node: Any, weights: dict[str, Weight]) -> bool:
    return any(name in weights for name in node.input)


def _check_data(folder: Path, arrays: dict[str, Any]) -> None:
    """Every array that lies in a data file lies within it."""
    for name, array in arrays.items():
        if any(size < 0 for size in array.dims):
            raise ValueError(f"{name} has the shape {tuple(array.dims)}")
        place = {entry.key: entry.value for entry in array.external_data}
        if not place:
            continue
        file = folder / place["location"]
        if file.parent != folder or not file.is_file():
            raise IntegrityError(f"{folder / GRAPH}: the data file {place['location']!r} of {name} is missing")
        begin = int(place.get("offset", 0))
        end = begin + int(place["length"])
        if not 0 <= begin <= end:
            raise IntegrityError(
                f"{folder / GRAPH}: {name} lies from byte {begin:,} to {end:,} of its data file", "export it again"
            )
        if end > file.stat().st_size:
            raise IntegrityError(
                f"{file} is cut off: {name} ends at byte {end:,}, the file has {file.stat().st_size:,}",
                "export it again",
            )


def _packed(graph: Any, arrays: dict[str, Any]) -> Iterator[tuple[str, Weight]]:
    """The quantized weights."""
    for node in graph.node:
        given = {attribute.name: attribute.i for attribute in node.attribute}
        held = [name for name in node.input if name in arrays]
        size = sum(_size(arrays[name]) for name in held[:3])
        if node.op_type == "MatMulNBits":
            kind, block, level = f"INT{given['bits']}", given["block_size"], given.get("accuracy_level", 0)
            yield held[0], Weight(kind, given["K"] * given["N"], size, block, level)
        elif node.op_type == "GatherBlockQuantized" and node.input[0] in arrays:  # else it shares the head's arrays
            bits = given.get("bits", 4)
            per_element = 8 // bits if arrays[held[0]].data_type == _UINT8 else 1
            count = math.prod(arrays[held[0]].dims) * per_element
            yield held[0], Weight(f"INT{bits}", count, size, given["block_size"], is_looked_up=True)
        elif node.op_type in ("MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat") and held:
            yield held[0], Weight("INT8", math.prod(arrays[held[0]].dims), _size(arrays[held[0]]))


def _size(array: Any) -> int:
    size: int = math.ceil(math.prod(array.dims) * _BYTES.get(array.data_type, 4))
    return size
