"""The faults that `make mutants` plants still fit the code; whether tests catch them takes minutes."""

import runpy
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
MUTANTS = REPO / "tools" / "mutants.py"
FAULTS = runpy.run_path(str(MUTANTS))["FAULTS"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_can_be_planted_in_one_place(fault):
    source = (REPO / fault.path).read_text(encoding="utf-8")

    assert source.count(fault.old) == 1
    assert fault.old != fault.new
    assert all((REPO / name.partition("::")[0]).exists() for name in fault.tests.split())
