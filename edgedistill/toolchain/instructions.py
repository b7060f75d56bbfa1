"""Which optional instructions a binary uses, and which a device has. A binary that uses one that is missing ends
with `Illegal instruction`, in the middle of the work."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

_ARM = {
    "__ARM_FEATURE_ATOMICS": "atomics",
    "__ARM_FEATURE_BF16": "bf16",
    "__ARM_FEATURE_CRC32": "crc32",
    "__ARM_FEATURE_DOTPROD": "asimddp",
    "__ARM_FEATURE_FP16_VECTOR_ARITHMETIC": "asimdhp",
    "__ARM_FEATURE_MATMUL_INT8": "i8mm",
    "__ARM_FEATURE_QRDMX": "asimdrdm",
    "__ARM_FEATURE_RCPC": "lrcpc",
    "__ARM_FEATURE_SME": "sme",
    "__ARM_FEATURE_SVE": "sve",
    "__ARM_FEATURE_SVE2": "sve2",
}
"""Those that a compiler or a kernel uses by itself. Encryption is not among them: nothing here uses its instructions,
and a Raspberry Pi 4 has a Cortex-A72 without them."""
_X86 = {
    "__AMX_INT8__": "amx_int8",
    "__AMX_TILE__": "amx_tile",
    "__AVX2__": "avx2",
    "__AVX512BF16__": "avx512_bf16",
    "__AVX512BITALG__": "avx512_bitalg",
    "__AVX512BW__": "avx512bw",
    "__AVX512CD__": "avx512cd",
    "__AVX512DQ__": "avx512dq",
    "__AVX512F__": "avx512f",
    "__AVX512IFMA__": "avx512ifma",
    "__AVX512VBMI2__": "avx512_vbmi2",
    "__AVX512VBMI__": "avx512vbmi",
    "__AVX512VL__": "avx512vl",
    "__AVX512VNNI__": "avx512_vnni",
    "__AVX512VPOPCNTDQ__": "avx512_vpopcntdq",
    "__AVXVNNI__": "avx_vnni",
    "__AVX__": "avx",
    "__BMI2__": "bmi2",
    "__BMI__": "bmi1",
    "__F16C__": "f16c",
    "__FMA__": "fma",
    "__POPCNT__": "popcnt",
    "__SSE4_2__": "sse4_2",
}
_LINES = {"Features": ("aarch64", "arm64", "armv8l", "armv7l"), "flags": ("x86_64", "amd64", "i686")}
"""What /proc/cpuinfo calls the list, and where."""


def needed(macros: str) -> tuple[str, ...]:
    """Names, as /proc/cpuinfo has them, of what a compiler may use that defines these macros (`cc -E -dM`), sorted."""
    defined = {words[1] for line in macros.splitlines() if len(words := line.split()) > 1 and words[0] == "#define"}
    return tuple(sorted(name for macro, name in {**_ARM, **_X86}.items() if macro in defined))


def of_every_core(machine: str, cpuinfo: str) -> frozenset[str]:
    """What all cores of a device have, by its `uname -m` and /proc/cpuinfo: a program may run on any of them.

    Empty where that file does not tell, as under an emulator, which shows the file of the machine that it runs on.
    """
    name = next((name for name, machines in _LINES.items() if machine in machines), None)
    lines = [line.partition(":") for line in cpuinfo.splitlines()]
    cores = [frozenset(value.split()) for key, _, value in lines if key.strip() == name]
    return frozenset.intersection(*cores) if cores else frozenset()


def of_this_machine() -> str:
    """Digest of what a compiler looks at for `native`: the processor's model and its instructions."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.is_file() else ""
    models = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")
    facts = {line for line in text.splitlines() if line.partition(":")[0].strip() in models}
    known = sorted(of_every_core(platform.machine(), text) & {*_ARM.values(), *_X86.values()})
    return hashlib.sha256("\n".join((platform.machine(), *sorted(facts), *known)).encode()).hexdigest()
