"""Sky maps from configuration files: dcrflow's YAML, and the configurations that the Rubin pipelines export."""
