"""Files in and out: DCR-coadd stores, detector-visit tables, template stores. No other layer knows what is on disk."""
