"""The head of a GGUF file: metadata and the list of tensors, read with limits and without any library.

A model file comes from elsewhere, so nothing in it is believed: every count and length is held against the file's size
before memory is taken for it. (gguf 0.19.0, the reader on the package index, hangs on a crafted file of 43 bytes.)

Source  docs/gguf.md of ggml, version 3, little-endian.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from edgedistill.errors import IntegrityError
from edgedistill.quantization import TYPES, Dimensions, tensor_bytes

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Metadata value type -> struct code. 8 is text, 9 a list."""
_STRING, _LIST = 8, 9
_MOST_DIMENSIONS = 4
_MOST_TENSORS = 100_000
_MOST_KEYS = 10_000


@dataclass(frozen=True)
class Tensor:
    """One line of the tensor list."""

    name: str
    dimensions: Dimensions
    """Last one is the row, as PyTorch writes it; the file holds them in the opposite order."""
    type: str
    offset: int
    """From the start of the data."""

    @property
    def bytes(self) -> int:
        return tensor_bytes(self.dimensions, self.type)

    @property
    def parameters(self) -> int:
        return math.prod(self.dimensions)


@dataclass(frozen=True)
class GgufFile:
    """Metadata and tensor list of a file whose data is all there."""

    metadata: dict[str, Any]
    tensors: dict[str, Tensor]
    places: dict[str, tuple[int, int]]
    """Metadata key -> where its value starts and ends in the file."""

    @property
    def parameters(self) -> int:
        return sum(tensor.parameters for tensor in self.tensors.values())

    @property
    def types(self) -> dict[str, str]:
        return {name: tensor.type for name, tensor in self.tensors.items()}

    @property
    def shapes(self) -> dict[str, Dimensions]:
        return {name: tensor.dimensions for name, tensor in self.tensors.items()}

    @property
    def tensor_bytes(self) -> int:
        """Of all tensors, without padding."""
        return sum(tensor.bytes for tensor in self.tensors.values())

    @property
    def read_bytes(self) -> int:
        """What one decoded token reads: every tensor, but of an input embedding that is not the head too, one row."""
        embedding = self.tensors.get("token_embd.weight")
        if embedding is None or "output.weight" not in self.tensors:
            return self.tensor_bytes
        return self.tensor_bytes - embedding.bytes + embedding.bytes // embedding.dimensions[0]


def read(path: Path) -> GgufFile:
    """Head of a GGUF file; IntegrityError when it is damaged, cut short, or of a type that this tool does not make."""
    with path.open("rb") as file, _as_integrity_error(path):
        size = path.stat().st_size
        reader = _Reader(file, size)
        if file.read(4) != b"GGUF":
            raise ValueError("it does not start with GGUF")
        if (version := reader.number("I")) != 3:
            raise ValueError(f"version {version}, expected 3")
        tensor_count, key_count = reader.count(_MOST_TENSORS, 24), reader.count(_MOST_KEYS, 13)
        metadata: dict[str, Any] = {}
        places = {}
        for _ in range(key_count):
            key = reader.text()
            start = file.tell()
            metadata[key] = reader.value(reader.number("I"))
            places[key] = (start, file.tell())
        tensors = [reader.tensor() for _ in range(tensor_count)]
        if len({tensor.name for tensor in tensors}) != tensor_count:
            raise ValueError("two tensors have the same name")
        _check_data(tensors, file.tell(), int(metadata.get("general.alignment", 32)), size)
    return GgufFile(metadata, {tensor.name: tensor for tensor in tensors}, places)


def check(path: Path) -> GgufFile:
    """Head of a file whose parts fit together too: what a native loader reads beyond its memory for is found here.

    Raises  IntegrityError as `read` does, and for a vocabulary that is not the embedding's
    """
    head = read(path)
    with _as_integrity_error(path):
        if not isinstance(head.metadata.get("general.architecture"), str):
            raise ValueError("it names no architecture")
        _check_vocabulary(head)
    return head


def with_text(path: Path, key: str, value: str, to: Path) -> Path:
    """Copy a file without tensors (a vocabulary), with one text of its metadata replaced."""
    head = read(path)
    if head.tensors:
        raise ValueError(f"{path.name} holds tensors, whose data would move")
    start, end = head.places[key]
    raw = path.read_bytes()
    text = value.encode()
    to.write_bytes(raw[:start] + struct.pack("<IQ", _STRING, len(text)) + text + raw[end:])
    return to


@contextmanager
def _as_integrity_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, IndexError, struct.error, KeyError, ZeroDivisionError) as error:
        raise IntegrityError(f"{path} is not a whole GGUF file: {error}") from error


def _check_data(tensors: list[Tensor], head_end: int, alignment: int, size: int) -> None:
    """Every tensor has numbers, at a place of its own, within the file."""
    if not 0 < alignment <= 1 << 20:
        raise ValueError(f"alignment {alignment}")
    begin = -(-head_end // alignment) * alignment
    free = 0
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        if not tensor.parameters:
            raise ValueError(f"tensor {tensor.name} has no numbers, its shape is {tensor.dimensions}")
        if tensor.offset < free:
            raise ValueError(f"the data of tensor {tensor.name} begins inside that of another one")
        if tensor.offset % alignment:
            raise ValueError(f"the data of tensor {tensor.name} begins at {tensor.offset}, no multiple of {alignment}")
        free = tensor.offset + tensor.bytes
        if begin + free > size:
            raise ValueError(f"the data of tensor {tensor.name} ends beyond the file's {size} bytes")


def _check_vocabulary(head: GgufFile) -> None:
    tokens = head.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list):
        return
    for name in ("scores", "token_type"):
        beside = head.metadata.get(f"tokenizer.ggml.{name}", tokens)
        if not isinstance(beside, list) or len(beside) != len(tokens):
            raise ValueError(f"tokenizer.ggml.{name} is no list of {len(tokens)}, one for each token")
    for name, token in head.metadata.items():
        if name.startswith("tokenizer.ggml.") and name.endswith("_token_id") and not 0 <= int(token) < len(tokens):
            raise ValueError(f"{name} is {token}, the vocabulary has {len(tokens)} tokens")
    embedding = head.tensors.get("token_embd.weight")
    if embedding and embedding.dimensions[0] != len(tokens):
        raise ValueError(f"the vocabulary has {len(tokens)} tokens, the embedding {embedding.dimensions[0]} rows")


class _Reader:
    """Reads values one after the other, and never more than the file still holds."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size

    def number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self._file.read(struct.calcsize(code)))[0]

    def count(self, most: int, least_bytes_each: int) -> int:
        """A count of things that take at least so many bytes each."""
        count: int = self.number("Q")
        if count > most or count * least_bytes_each > self._size - self._file.tell():
            raise ValueError(f"it claims {count} entries, more than its {self._size} bytes can hold")
        return count

    def text(self) -> str:
        length = self.count(self._size, 1)
        return self._file.read(length).decode("utf-8", errors="surrogateescape")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _LIST:
            return self._list()
        return self.number(_NUMBERS[kind])

    def _list(self) -> list[Any]:
        kind = self.number("I")
        if kind == _STRING:
            return [self.text() for _ in range(self.count(self._size, 8))]
        # A list of lists is legal and nobody writes one: refused, so that depth cannot be used against us.
        code = _NUMBERS[kind]
        count = self.count(self._size, struct.calcsize(code))
        return list(struct.unpack(f"<{count}{code}", self._file.read(count * struct.calcsize(code))))

    def tensor(self) -> Tensor:
        name = self.text()
        if (dimension_count := self.number("I")) > _MOST_DIMENSIONS:
            raise ValueError(f"tensor {name} has {dimension_count} dimensions")
        dimensions = tuple(reversed([self.number("Q") for _ in range(dimension_count)]))
        type_id = self.number("I")
        known = next((type_name for type_name, kind in TYPES.items() if kind.id == type_id), None)
        if known is None:
            raise ValueError(f"tensor {name} has type number {type_id}, none of {', '.join(TYPES)}")
        return Tensor(name, dimensions, known, self.number("Q"))
