"""Detector-visits: tables, FITS exposures, and the choice of rows among them."""
