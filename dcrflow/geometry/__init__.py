"""The sky's geometry: boxes, world coordinates, tracts and patches, coordinate maps. Knows numpy and astropy only."""
