"""DCR-coadd stores: reading, writing, and the metadata of their patches."""
