"""LSST's summaries of visits as detector-visit tables: `visitSummary` and `visit_detector_table`."""
