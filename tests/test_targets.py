"""Every shipped target loads, and every number in it has a source."""

from __future__ import annotations

import re

import pytest

from edgedistill import target, yaml_file
from edgedistill.predictor import chips
from edgedistill.target import Caches, Fact, Isa

SHIPPED = yaml_file.names("targets")


def test_the_promised_devices_are_there():
    boards = {"rpi5", "rpi5-4gb", "rpi5-16gb", "rpi4", "rpi-zero2w", "rk3588", "rk3576", "orin-nano-8gb", "orin-agx"}
    computers = {"host", "n100", "n150", "laptop-i5-1235u", "mac-m1", "mac-m2", "mac-m4"}
    phones = {"pixel6a", "phone-pixel8a", "phone-sd8gen2", "phone-sd8gen3", "phone-sd8elite"}
    assert boards | computers | phones <= SHIPPED.keys()


@pytest.mark.parametrize("name", SHIPPED)
def test_it_loads_and_has_all_budgets(name):
    found = target.load(name)
    assert found.name == name
    assert all(limit is not None for limit in found.budgets.model_dump().values())


@pytest.mark.parametrize("name", SHIPPED)
def test_every_number_has_a_source(name):
    made = target.load(name)
    facts = [value for _, value in made if isinstance(value, Fact | Isa | Caches)]
    facts += made.cores
    assert name == "host" or len(facts) >= 6
    raw = yaml_file.read(SHIPPED[name])
    numbers = [key for key, value in raw.items() if isinstance(value, int | float) and key != "threads"]
    assert numbers == []
    for fact in facts:
        assert re.search(r"https://|measured by .*20\d\d-\d\d-\d\d", fact.source, re.DOTALL), fact.source


@pytest.mark.parametrize("name", sorted(SHIPPED.keys() - {"host"}))
def test_it_states_enough_to_be_predicted(name):
    made = target.load(name)
    assert target.doubts(made) == []
    chip = chips.of_target(made)
    assert chip is not None and made.peak_gb_s and made.usable_ram_mib and made.ram_mib
    assert made.usable_ram_mib.value < made.ram_mib.value
    assert made.threads == sum(cores.count for cores in made.cores if cores.big)
    assert chip.copy_gb_s is None or chip.copy_gb_s < made.peak_gb_s.value


@pytest.mark.parametrize("name", SHIPPED)
def test_the_readme_explains_every_field(name):
    text = (SHIPPED[name].parent / "README.md").read_text()
    for key in target.Target.model_fields.keys() - {"name", "budgets"}:
        assert f"`{key}`" in text
