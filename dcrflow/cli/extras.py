"""Say before anything starts which extra a command needs, where its packages are not installed."""

from __future__ import annotations

from importlib.util import find_spec

from dcrflow.base.errors import ConfigError

#: The packages of an extra that a command needs.
_PACKAGES = {
    "sim": ("galsim", "matplotlib"),
    "jobqueue": ("dask_jobqueue",),
    "kubernetes": ("dask_kubernetes",),
}
_EXTRA = {"jobqueue": "cluster", "kubernetes": "cluster"}
_CLUSTERS = {"slurm": "jobqueue", "pbs": "jobqueue", "htcondor": "jobqueue", "kubernetes": "kubernetes"}


def require(what: str, need: str) -> None:
    """Raise if packages are missing.

    Parameters
    ----------
    what : str
        The command or option that needs them.
    need : {"sim", "jobqueue", "kubernetes"}
        Which packages.

    Raises
    ------
    ConfigError
        Names the packages and the extra.
    """
    missing = [name for name in _PACKAGES[need] if find_spec(name) is None]
    if missing:
        names = " and ".join(name.replace("_", "-") for name in missing)
        raise ConfigError(f"{what} needs {names}: pip install 'dcrflow[{_EXTRA.get(need, need)}]'")


def require_for_cluster(cluster: str) -> None:
    """Raise if the packages for a kind of cluster are missing; that of a YAML file is checked when it is read."""
    if cluster in _CLUSTERS:
        require(f"--cluster {cluster}", _CLUSTERS[cluster])
