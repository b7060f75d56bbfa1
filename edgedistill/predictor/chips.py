"""What a chip offers to a model: its memory, its instructions, its clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgedistill.target import Target

_BY_FEATURE = (("i8mm", "i8mm"), ("dotprod", "dotprod"), ("avx512_vnni", "avx512"), ("avx2", "avx2"))


@dataclass(frozen=True)
class Chip:
    """One kind of device, as far as speed depends on it."""

    name: str
    """Under which published measurements of it were fitted; another name has no factors of its own."""
    kind: str
    """board, phone, x86 or mac: devices of a kind reach a similar share of their memory's peak."""
    isa: str
    cores: int
    """Big cores."""
    ghz: float
    lanes: float
    """128-bit vector instructions per cycle and big core."""
    copy_gb_s: float | None = None
    """memcpy, one thread, big core."""
    peak_gb_s: float | None = None
    """Bus width times transfer rate."""
    read_gb_s: float | None = None
    """Sustained read rate of all threads, where somebody measured it on this very device."""


def of_target(target: Target) -> Chip | None:
    """None when the target lacks what a prediction takes: big cores with clock, and one of the memory's rates."""
    big = [cores for cores in target.cores if cores.big]
    rates = {name: fact.value if (fact := getattr(target, name)) else None for name in _RATES}
    if not big or not any(rates.values()):
        return None
    count = sum(cores.count for cores in big)
    return Chip(
        name=target.chip or target.name,
        kind=target.kind,
        isa=isa_of(target.isa.features if target.isa else ()),
        cores=count,
        ghz=sum(cores.count * cores.ghz for cores in big) / count,
        lanes=big[0].lanes,
        **rates,
    )


def isa_of(features: tuple[str, ...]) -> str:
    """The best integer products among CPU features."""
    for feature, isa in _BY_FEATURE:
        if feature in features:
            return isa
    return "neon" if {"neon", "asimd"} & set(features) else "sse"


_RATES = ("copy_gb_s", "peak_gb_s", "read_gb_s")
