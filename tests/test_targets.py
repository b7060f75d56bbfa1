"""Every shipped target loads, and every number in it has a source."""

from __future__ import annotations

import re

import pytest

from edgedistill import target, yaml_file
from edgedistill.target import Fact

SHIPPED = yaml_file.names("targets")


def test_the_two_are_there():
    assert {"host", "rpi5"} <= SHIPPED.keys()


@pytest.mark.parametrize("name", SHIPPED)
def test_it_loads_and_has_all_budgets(name):
    found = target.load(name)
    assert found.name == name
    assert all(limit is not None for limit in found.budgets.model_dump().values())


@pytest.mark.parametrize("name", SHIPPED)
def test_every_number_has_a_source(name):
    facts = [value for _, value in target.load(name) if isinstance(value, Fact)]
    raw = yaml_file.read(SHIPPED[name])
    numbers = [key for key, value in raw.items() if isinstance(value, int | float) and key != "threads"]
    assert numbers == []
    for fact in facts:
        assert re.search(r"https://|measured by .*20\d\d-\d\d-\d\d", fact.source, re.DOTALL), fact.source


@pytest.mark.parametrize("name", SHIPPED)
def test_the_readme_explains_every_field(name):
    text = (SHIPPED[name].parent / "README.md").read_text()
    for key in target.Target.model_fields.keys() - {"name", "budgets"}:
        assert f"`{key}`" in text
