"""DCR coadds from visits: the arithmetic, on arrays alone. DESIGN.md says what each function promises."""
