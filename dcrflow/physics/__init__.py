"""The atmosphere and the band: refraction, observations, bandpasses, DCR. Knows no pixels and no dask."""
