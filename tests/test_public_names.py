"""What `import dcrflow` offers."""

import subprocess
import sys

import pytest

import dcrflow
from dcrflow.base import errors as base_errors


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


@pytest.mark.parametrize(("first", "second"), [("dcrflow", "xarray"), ("xarray", "dcrflow")])
def test_the_accessor_is_there_in_either_order(first: str, second: str) -> None:
    code = f"""
import sys, {first}, {second}
import xarray
assert hasattr(xarray.Dataset, "dcrflow")
assert type(xarray.__loader__).__module__ == type(xarray.__spec__.loader).__module__ != "dcrflow.base.after_import"
assert not any(type(finder).__module__ == "dcrflow.base.after_import" for finder in sys.meta_path)
heavy = [name for name in ("astropy", "numba", "dask.array", "matplotlib") if name in sys.modules]
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_importing_dcrflow_imports_nothing_that_takes_long() -> None:
    heavy = "numba", "dask", "distributed", "astropy", "xarray", "numpy", "pandas", "zarr"
    code = f"import sys, dcrflow; sys.exit(','.join(m for m in {heavy!r} if m in sys.modules) or None)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "how", ["import dcrflow.errors", "import dcrflow", "from dcrflow import errors as e; import dcrflow"]
)
def test_errors_have_a_module_of_their_own(how: str) -> None:
    code = f"{how}; found = dcrflow.errors.NoOverlapError; assert found is dcrflow.NoOverlapError"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_all_errors_are_public() -> None:
    kinds = {n for n, v in vars(base_errors).items() if isinstance(v, type) and issubclass(v, base_errors.DcrflowError)}
    assert kinds == set(dcrflow.errors.__all__) <= set(dcrflow.__all__)
