"""A dask array whose slices are planned anew.

Why
    A slice of a template reads and computes what the slice needs, to the pixel. A plain dask array computes whole
    chunks and cuts them afterwards. So `__getitem__` is overridden in a subclass of `dask.array.Array`. But xarray
    compares the types of a dataset's arrays and refuses to compute several types together: the subclass's type claims
    to be equal to dask's.
Public ways tried
    - A class of our own with `__dask_graph__`: xarray finds its chunk manager by ``isinstance(x, dask.array.Array)``,
      and a dataset with such an array beside a plain dask array (``template.assign(...)``, arithmetic) is refused.
    - A chunk manager of our own (entry point ``xarray.chunkmanagers``): the check for several types comes before any
      chunk manager is asked.
    - An xarray `BackendArray` under `LazilyIndexedArray`: slices reach it, but it computes when asked for values, so
      the dataset is not backed by dask, and its steps are not part of the graph that dask optimises and shows. Chunked
      with ``.chunk()``, slices do not reach it any more.
    - ``dask.array.from_array`` of an object with `__getitem__`: dask folds slices into it, but all steps of a tile then
      happen inside one task.
    - A `Layer` with `cull` of its own: it is told which chunks are wanted, not which part of a chunk.
Versions
    dask 2026.1.1 to 2026.8.0 with xarray 2025.10.0 to 2026.9.0.
Remove when
    xarray compares array types with `isinstance`, then only the metaclass; or dask passes slices down to a graph's
    layers.
"""

from __future__ import annotations

from typing import Any

import dask.array as da


class _EqualToDaskArray(type):
    """Makes the type of an array equal to `dask.array.Array`."""

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is da.Array

    def __hash__(cls) -> int:
        return hash(da.Array)


class ReplannedArray(da.Array, metaclass=_EqualToDaskArray):
    """A dask array whose slices come from another graph; a subclass says from which."""

    def plan_slice(self, index: Any) -> da.Array | None:
        """The array of a slice; None where dask's own slicing must do."""
        return None

    def __getitem__(self, index: Any) -> Any:
        planned = self.plan_slice(index)
        return super().__getitem__(index) if planned is None else planned  # type: ignore[no-untyped-call]
