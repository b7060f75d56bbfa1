"""Graphs made by hand, of which every count can be checked with a pencil."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from edgedistill import onnx_file
from edgedistill.errors import IntegrityError

np = pytest.importorskip("numpy")


def save(folder: Path, nodes: list[Any], arrays: dict[str, Any], *, is_apart: bool = False) -> Path:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    held = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    model = helper.make_model(helper.make_graph(nodes, "g", [], [output], held))
    file = str(folder / onnx_file.GRAPH)
    onnx.save(model, file, save_as_external_data=is_apart, location="model.onnx.data", size_threshold=0)
    return folder


def node(kind: str, *inputs: str, **attributes: int) -> Any:
    from onnx import helper

    return helper.make_node(kind, list(inputs), [f"{kind}-out"], **attributes)


def floats(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


def test_a_float_graph_is_counted_and_rows_that_are_looked_up_are_not_read(tmp_path):
    nodes = [node("Gather", "embed", "ids"), node("MatMul", "x", "head"), node("Mul", "x", "norm")]
    arrays = {"embed": floats(10, 8), "head": floats(8, 10), "norm": floats(8), "cos_cache": floats(64, 4)}
    found = onnx_file.read(save(tmp_path, nodes, arrays))
    assert found.parameters == 80 + 80 + 8, "the table of angles is no weight"
    assert found.tensor_bytes == 4 * 168
    assert found.read_bytes == 4 * 88
    assert found.types == {"embed": "F32", "head": "F32", "norm": "F32"}
    assert found.bits_per_weight == 32.0


def test_a_quantized_weight_is_one_weight_with_its_scales(tmp_path):
    """64 x 4 numbers of 4 bits in blocks of 32: 128 bytes and 8 scales of 4 bytes."""
    bits = {"K": 64, "N": 4, "bits": 4, "block_size": 32, "accuracy_level": 4}
    arrays = {"w": np.zeros((4, 2, 16), np.uint8), "s": floats(4, 2)}
    found = onnx_file.read(save(tmp_path, [node("MatMulNBits", "x", "w", "s", **bits)], arrays))
    assert found.weights == {"w": onnx_file.Weight("INT4", 256, 160, 32, 4)}
    assert found.bits_per_weight == 5.0
    onnx_file.set_accuracy_level(tmp_path, 1)
    assert onnx_file.read(tmp_path).weights["w"].accuracy_level == 1


def test_weights_of_dynamic_quantization_are_8_bit(tmp_path):
    arrays = {"w": np.zeros((8, 4), np.int8), "zero": np.zeros((), np.int8), "scale": np.zeros((), np.float32)}
    nodes = [node("MatMulInteger", "x", "w", "x_zero", "zero"), node("Mul", "y", "scale")]
    found = onnx_file.read(save(tmp_path, nodes, arrays))
    assert found.types == {"w": "INT8"} and found.parameters == 32


def test_damage_is_named(tmp_path):
    folder = save(tmp_path, [node("MatMul", "x", "head")], {"head": floats(512, 32)}, is_apart=True)
    data = folder / "model.onnx.data"
    whole = data.read_bytes()
    data.write_bytes(whole[:-1])
    with pytest.raises(IntegrityError, match=r"model.onnx.data is cut off: head ends at byte 65,536"):
        onnx_file.read(folder)
    data.unlink()
    with pytest.raises(IntegrityError, match=r"the data file 'model.onnx.data' of head is missing"):
        onnx_file.read(folder)
    (folder / onnx_file.GRAPH).write_bytes(b"\xff" * 100)
    with pytest.raises(IntegrityError, match="is not an ONNX file, or damaged"):
        onnx_file.read(folder)
    with pytest.raises(IntegrityError, match="is not an ONNX file, or damaged"):
        onnx_file.read(folder / "nowhere")


def test_a_graph_without_weights_is_refused(tmp_path):
    with pytest.raises(IntegrityError, match="holds no weights"):
        onnx_file.read(save(tmp_path, [node("Relu", "x")], {}))


def test_data_that_begins_before_its_file_or_has_no_length_is_refused(tmp_path):
    import onnx

    folder = save(tmp_path, [node("MatMul", "x", "head")], {"head": floats(512, 32)}, is_apart=True)
    whole = (folder / onnx_file.GRAPH).read_bytes()

    def changed(key: str, value: str | None) -> None:
        model = onnx.ModelProto.FromString(whole)
        kept = [entry for entry in model.graph.initializer[0].external_data if entry.key != key or value is not None]
        del model.graph.initializer[0].external_data[:]
        for entry in kept:
            model.graph.initializer[0].external_data.add(
                key=entry.key, value=value if entry.key == key else entry.value
            )
        (folder / onnx_file.GRAPH).write_bytes(model.SerializeToString())

    changed("offset", "-64")
    with pytest.raises(IntegrityError, match="head lies from byte -64 to 65,472 of its data file"):
        onnx_file.read(folder)
    changed("length", None)
    with pytest.raises(IntegrityError, match="is not an ONNX file, or damaged: KeyError: 'length'"):
        onnx_file.read(folder)


def test_no_flipped_bit_of_a_graph_gives_anything_but_a_named_error(tmp_path):
    """1,500 flips, most of them in names, sizes and attributes: each is refused by name, or leaves a graph that can be
    counted."""
    bits = {"K": 64, "N": 4, "bits": 4, "block_size": 32, "accuracy_level": 4}
    arrays = {"w": np.zeros((4, 2, 16), np.uint8), "s": floats(4, 2), "embed": floats(10, 8), "t": floats(10, 1)}
    nodes = [
        node("MatMulNBits", "x", "w", "s", **bits),
        node("GatherBlockQuantized", "embed", "ids", "t", block_size=8, bits=4),
        node("MatMulInteger", "x", "s"),
    ]
    folder = save(tmp_path, nodes, arrays, is_apart=True)
    raw, draw, caught = (folder / onnx_file.GRAPH).read_bytes(), random.Random(7), 0
    for _ in range(1500):
        flipped = bytearray(raw)
        flipped[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
        (folder / onnx_file.GRAPH).write_bytes(flipped)
        try:
            assert onnx_file.read(folder).bits_per_weight > 0
        except IntegrityError:
            caught += 1
    assert caught > 200
