"""Plans: which patches, pixels and tiles a template needs. Geometry and metadata only; no pixels are read."""
