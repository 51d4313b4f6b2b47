"""How dcrflow reads and writes zarr: opening any store, whole chunks at once, remote stores."""
