from __future__ import annotations

import pytest

from edgedistill.toolchain import instructions

PI5 = (
    "processor\t: 0\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc \
dcpop asimddp\nCPU implementer\t: 0x41\n"
)
PI4 = "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\n"
MACROS = "#define __ARM_FEATURE_DOTPROD 1\n#define __ARM_FEATURE_AES 1\n#define __ARM_FEATURE_ATOMICS 1\n#define X\n"


def test_macros_become_the_names_of_cpuinfo_and_encryption_is_not_needed():
    assert instructions.needed(MACROS) == ("asimddp", "atomics")


def test_what_a_pi_5_has_and_a_pi_4_lacks():
    needs = {"asimddp", "atomics", "crc32"}
    assert needs <= instructions.of_every_core("aarch64", PI5)
    assert needs - instructions.of_every_core("aarch64", PI4) == {"asimddp", "atomics"}


def test_what_one_core_lacks_is_not_had():
    assert "asimddp" not in instructions.of_every_core("aarch64", PI5 + "\n" + PI4)


@pytest.mark.parametrize(
    ("machine", "cpuinfo"), [("aarch64", "flags\t: sse avx2\n"), ("aarch64", ""), ("riscv64", PI5)]
)
def test_a_file_that_does_not_tell_gives_nothing(machine, cpuinfo):
    assert instructions.of_every_core(machine, cpuinfo) == frozenset()


def test_this_machine_is_itself():
    assert instructions.of_this_machine() == instructions.of_this_machine()
    assert len(instructions.of_this_machine()) == 64
