"""The inner loops: numba functions on numpy arrays that release the GIL. They know no sky, no store and no dask."""
