"""Figures, notebook cards, thumbnails, and `template.dcrflow`."""
