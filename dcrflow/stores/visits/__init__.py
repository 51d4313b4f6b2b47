"""Detector-visits: reading tables and FITS exposures, and selecting rows."""
