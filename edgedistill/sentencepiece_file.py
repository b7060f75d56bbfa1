"""How many tokens a `tokenizer.model` holds, read with limits and without the sentencepiece library.

Source  sentencepiece_model.proto of google/sentencepiece, version 0.2.0: `repeated SentencePiece pieces = 1`
"""

from __future__ import annotations

from pathlib import Path

_PIECES = 1
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
"""Protocol Buffers wire types."""
_MOST_BYTES = 1 << 28


def pieces(path: Path) -> int:
    """Raises ValueError for a file that is no such model, or was cut short."""
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size:,} bytes, more than any tokenizer")
    raw, at, found = path.read_bytes(), 0, 0
    try:
        while at < len(raw):
            tag, at = _varint(raw, at)
            found += tag == _PIECES << 3 | _LENGTH
            at = _behind(raw, at, tag & 7)
    except IndexError:
        raise ValueError(f"{path.name} is cut short") from None
    if at != len(raw) or not found:
        raise ValueError(f"{path.name} is cut short, or no SentencePiece model")
    return found


def _behind(raw: bytes, at: int, kind: int) -> int:
    """Where the field's value ends."""
    if kind == _VARINT:
        return _varint(raw, at)[1]
    if kind == _LENGTH:
        length, at = _varint(raw, at)
        return at + length
    if kind in (_EIGHT_BYTES, _FOUR_BYTES):
        return at + (8 if kind == _EIGHT_BYTES else 4)
    raise IndexError


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """The number, and where the next byte is. Raises IndexError beyond the end, or for more than 64 bits."""
    value = shift = 0
    while True:
        value |= (raw[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not raw[at - 1] & 0x80:
            return value, at
        if shift > 63:
            raise IndexError
