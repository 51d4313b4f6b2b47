"""GalSim is optional."""

import sys

import pytest

from dcrflow.base.errors import DcrflowError
from dcrflow.simulate._galsim import galsim


def test_missing_galsim_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "galsim", None)
    with pytest.raises(DcrflowError, match=r"pip install 'dcrflow\[sim\]'") as caught:
        galsim()
    assert isinstance(caught.value, ImportError)
