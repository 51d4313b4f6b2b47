"""Simulated surveys: a sky drawn by GalSim, as subfilter coadds without an atmosphere and as visits with GalSim's own.

Needs the optional GalSim (``pip install 'dcrflow[sim]'``), which is imported when something is drawn.
"""
