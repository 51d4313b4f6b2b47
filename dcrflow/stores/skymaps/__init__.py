"""Sky maps from configuration files: dcrflow's YAML, and configurations exported by the Rubin pipelines."""
