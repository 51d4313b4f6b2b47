"""Which cluster a word, a file or an address describes."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from dcrflow.base.errors import ClusterError, brief
from dcrflow.base.yamltext import read_yaml
from dcrflow.cluster.backends import BACKENDS
from dcrflow.cluster.description import Description

#: The kinds that a word can name, and their fields.
KINDS: dict[str, type[Description]] = {kind: b.description for kind, b in BACKENDS.items() if b.by_word}


def read_description(text: str, **changes: Any) -> Description:
    """What `text` describes: a word of `KINDS`, the name of a YAML or scheduler file, or a scheduler's address.

    Parameters
    ----------
    text : str
        ``local``, ``slurm``, ``pbs``, ``htcondor``, ``kubernetes``; a file ending in .yaml or .yml (one mapping, with a
        ``kind`` and any field of that kind), or in .json (a scheduler file); ``tcp://host:port``, ``tls://host:port``.
    **changes
        Fields over it; None changes nothing.

    Raises
    ------
    ClusterError
        If it is not one of these, or a field is unknown or unusable; the message names it.
    """
    fields = {name: value for name, value in changes.items() if value is not None}
    if text in KINDS:
        values: dict[str, Any] = {"kind": text}
    elif text.endswith((".yaml", ".yml")):
        values = _read_yaml(text)
    elif text.endswith(".json"):
        values = {"kind": "scheduler-file", "path": text}
    elif "://" in text:
        values = {"kind": "running", "address": text}
    else:
        raise ClusterError(
            f"unknown cluster {brief(text)}: give {', '.join(KINDS)}, a YAML file, a scheduler file (.json), or the "
            "address (tcp://host:port, tls://host:port) of a scheduler that runs already"
        )
    if values["kind"] not in BACKENDS:
        raise ClusterError(f"cluster {text}: kind is {brief(values['kind'])}, expected one of {', '.join(BACKENDS)}")
    try:
        return BACKENDS[values["kind"]].description.model_validate(values | fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise ClusterError(
            f"cluster {text}: {where}: {first['msg']}; `dcrflow cluster fields` lists what there is"
        ) from None


def _read_yaml(path: str) -> dict[str, Any]:
    try:
        values = read_yaml(path)
    except (OSError, ValueError) as error:
        raise ClusterError(f"cannot read the cluster description {path}: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or not isinstance(values.get("kind"), str):
        raise ClusterError(f"{path} is no cluster description: expected a mapping with a kind ({', '.join(KINDS)})")
    return values
