"""The inner loops: numba functions on numpy arrays that release the GIL. They know no sky, no store and no dask."""

from dcrflow.compat.numba_cache import ensure_cache

ensure_cache()
