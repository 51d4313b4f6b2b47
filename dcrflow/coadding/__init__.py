"""DCR coadds from visits: the arithmetic, on arrays only. DESIGN.md describes the contract of each function."""
