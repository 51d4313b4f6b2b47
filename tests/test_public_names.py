"""What `import dcrflow` offers."""

import subprocess
import sys

import pytest

import dcrflow


def test_every_name_is_there() -> None:
    for name in dcrflow.__all__:
        assert getattr(dcrflow, name) is not None
    assert set(dir(dcrflow)) == set(dcrflow.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dcrflow.nothing


def test_the_command_line_loads_nothing_heavy() -> None:
    heavy = "numba", "dask", "distributed", "astropy", "xarray", "pandas", "zarr"
    code = f"import sys, dcrflow.cli; sys.exit(','.join(m for m in {heavy!r} if m in sys.modules) or None)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
