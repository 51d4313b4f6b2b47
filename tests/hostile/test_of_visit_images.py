"""Visits that are bad input for coadds: nothing is harmed, and the documentation says what happens."""

import os
from pathlib import Path

import pytest

from hostile.of_visit_images import documented, markdown, rows, write

pytest.importorskip("galsim")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what astropy says of odd files
def test_nothing_is_harmed_and_the_documentation_says_what_happens(tmp_path: Path) -> None:
    found = list(rows(tmp_path))
    assert [(row[0], harm) for row, harm in found if harm] == []
    table = markdown([row for row, _ in found])
    if os.environ.get("DCRFLOW_WRITE"):
        write(table)
    assert documented().strip() == table.strip(), "DCRFLOW_WRITE=1 pytest tests/hostile/test_of_visit_images.py"
