"""The atmosphere and the band: refraction, observations, bandpasses, DCR. Pure functions; knows no pixels and no dask."""
