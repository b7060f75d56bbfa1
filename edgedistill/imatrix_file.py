"""llama.cpp's file of an importance matrix: per weight matrix, the sum of squared inputs of each column, and a count.

A GGUF file without a model: `<tensor>.in_sum2` and `<tensor>.counts`, both F32, and three facts about the text.

Source  tools/imatrix/imatrix.cpp of the pinned llama.cpp, `save_imatrix`; `load_imatrix` of tools/quantize
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgedistill import gguf_file
from edgedistill.errors import IntegrityError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SUMS, _COUNTS = ".in_sum2", ".counts"


@dataclass(frozen=True)
class Importance:
    """Of one weight matrix; of merged experts, one row each."""

    sums: NDArray[np.float32]
    """(experts or 1, columns): sum of squared inputs."""
    counts: NDArray[np.float32]
    """(experts or 1,): tokens that went through."""

    @property
    def means(self) -> NDArray[np.float32]:
        """(experts or 1, columns) mean squared input; ones for an expert that no token went through."""
        import numpy as np

        counts = self.counts[:, None]
        found: NDArray[np.float32] = np.where(counts > 0, self.sums / np.maximum(counts, 1), 1).astype(np.float32)
        return found


@dataclass(frozen=True)
class About:
    """Where the text of an importance matrix came from."""

    source: str
    chunks: int


def about(path: Path) -> About:
    metadata = gguf_file.read(path).metadata
    sources = metadata.get("imatrix.datasets") or [path.name]
    return About(str(sources[0]), int(metadata.get("imatrix.chunk_count", 0)))


def write(path: Path, entries: Mapping[str, Importance], *, source: str, chunk_tokens: int) -> None:
    """`source` says what the text was; `chunk_tokens` is what llama.cpp counts text in."""
    import gguf

    writer = gguf.GGUFWriter(path, "")
    writer.kv_data[0].clear()  # the writer's own first entry, the architecture: there is no model
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", [source])
    tokens = max((int(entry.counts.max()) for entry in entries.values()), default=0)
    writer.add_uint32("imatrix.chunk_count", -(-tokens // chunk_tokens))
    writer.add_uint32("imatrix.chunk_size", chunk_tokens)
    for name, entry in sorted(entries.items()):
        writer.add_tensor(name + _SUMS, entry.sums)
        writer.add_tensor(name + _COUNTS, entry.counts[:, None])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read(path: Path) -> dict[str, Importance]:
    """Tensor name -> importance; IntegrityError for a file that is damaged or holds something else."""
    head = gguf_file.read(path)  # with limits; the library's reader trusts what it reads
    from gguf import GGUFReader

    odd = [name for name, kind in head.types.items() if kind != "F32" or not name.endswith((_SUMS, _COUNTS))]
    names = sorted(name.removesuffix(_SUMS) for name in head.tensors if name.endswith(_SUMS))
    if odd or not names or len(head.tensors) != 2 * len(names):
        what = f"it holds {odd[0]}" if odd else "sums and counts do not come in pairs"
        raise IntegrityError(f"{path} is not an importance matrix: {what}", "make it with llama-imatrix, as GGUF")
    data = {tensor.name: tensor.data for tensor in GGUFReader(path).tensors}
    return {name: _entry(path, name, data[name + _SUMS], data.get(name + _COUNTS)) for name in names}


def _entry(path: Path, name: str, sums: NDArray[np.float32], counts: NDArray[np.float32] | None) -> Importance:
    import numpy as np

    if counts is None or sums.size % counts.size or not (np.isfinite(sums).all() and np.isfinite(counts).all()):
        raise IntegrityError(f"{path}: {name} has sums without a count, or numbers that are not finite")
    return Importance(np.array(sums).reshape(counts.size, -1), np.array(counts).ravel())
