"""What people look at: figures, notebook cards, thumbnails, and `template.dcrflow`."""
