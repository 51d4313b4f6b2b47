"""The record of a detector-visit in a template store: all but its pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dcrflow.base.addresses import redacted
from dcrflow.base.attributes import decoded, is_number

STATUSES = ("complete", "no-overlap", "failed")


@dataclass(frozen=True)
class TemplateRecord:
    """The record of a detector-visit: all that the store has, except its pixels.

    Parameters
    ----------
    visit, detector : int
        The data ID; -1 where a table's row has none that can be read.
    status : str
        ``complete``, ``no-overlap`` or ``failed``.
    coverage : float or None
        Fraction of the detector's own pixels that have data.
    config_hash, inputs : str
        Under which configuration, from which coadds.
    error : mapping or None
        ``type`` and ``message`` of what went wrong.
    took : mapping
        Seconds by step and patch, told to who had it made; kept in the journal, not with the template, whose bytes
        are the same whoever makes it.
    damage : tuple of str
        The chunks of the coadds that could not be read, and that the template has NO_DATA for.
    inputs_digest : str
        Of what the patches contained that it was made from; empty if that was not written down.
    patches : tuple of (int, int)
        Tract and patch of these patches.
    band : str
        Of the patches.
    stored_bytes : mapping of str to (int or None)
        Of the chunks of each variable; None where that was not written down.
    """

    visit: int
    detector: int
    status: str
    coverage: float | None
    config_hash: str
    inputs: str
    error: Mapping[str, str] | None
    took: Mapping[str, Any] = field(default_factory=dict, compare=False)
    damage: tuple[str, ...] = ()
    inputs_digest: str = field(default="", compare=False)
    patches: tuple[tuple[int, int], ...] = field(default=(), compare=False)
    band: str = field(default="", compare=False)
    stored_bytes: Mapping[str, int | None] = field(default_factory=dict, compare=False)

    def matches(self, config_hash: str, inputs: str) -> bool:
        """Whether it was made under this configuration and from coadds at this address."""
        return (self.config_hash, self.inputs) == (config_hash, inputs)


def record_of(visit: int, detector: int, attributes: Mapping[str, Any]) -> TemplateRecord | None:
    """The record that some attributes are; None if they have no status."""
    status, coverage = attributes.get("status"), attributes.get("coverage")
    error, damage = (decoded(attributes.get(name)) for name in ("error", "damage"))
    if not isinstance(status, str) or status not in STATUSES:
        return None
    return TemplateRecord(
        visit=visit,
        detector=detector,
        status=status,
        coverage=float(coverage) if coverage is not None and is_number(coverage) else None,
        config_hash=str(attributes.get("config_hash", "")),
        inputs=redacted(str(attributes.get("inputs", ""))),
        error={str(k): str(v) for k, v in error.items()} if isinstance(error, Mapping) else None,
        damage=tuple(map(str, damage)) if isinstance(damage, list | tuple) else (),
        inputs_digest=str(attributes.get("inputs_digest", "")),
        patches=tuple(_pairs(decoded(attributes.get("patches")))),
        band=str(attributes.get("band", "")),
        stored_bytes=_sizes(attributes),
        took={"seconds": attributes["seconds"]} if is_number(attributes.get("seconds")) else {},
    )


def recorded(visit: int, detector: int, attributes: Mapping[str, Any]) -> TemplateRecord:
    """The record of what has a status."""
    record = record_of(visit, detector, attributes)
    assert record is not None
    return record


def label_of(attributes: Mapping[Any, Any]) -> str:
    """The data ID in some attributes, as text."""
    return f"visit {attributes.get('visit', '?')} detector {attributes.get('detector', '?')}"


def data_id(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    """Visit and detector of a journal's line; None if it is damaged."""
    try:
        return int(entry["visit"]), int(entry["detector"])
    except (LookupError, TypeError, ValueError, OverflowError):
        return None


def asked_for(detectors_by_visit: Any) -> Iterator[tuple[int, int]]:
    """The (visit, detector) of a journal's line; what of it is damaged, or no data ID, is left out."""
    for visit, detectors in detectors_by_visit.items() if isinstance(detectors_by_visit, Mapping) else ():
        for detector in detectors if isinstance(detectors, list) else ():
            found = data_id({"visit": visit, "detector": detector})
            if found is not None and min(found) >= 0 and max(found) < 1 << 63:
                yield found


def last_records(
    entries: Iterable[Mapping[str, Any]],
) -> tuple[dict[tuple[int, int], TemplateRecord], set[tuple[int, int]]]:
    """What journals say: the last record of each (visit, detector), and all that any run was asked for.

    A template that was finished after its run had died is in the store and not in the journal. One of which two
    runs say different things is left out too: clocks do not tell which was later, the store does.
    """
    last: dict[tuple[int, int], tuple[str, TemplateRecord]] = {}
    unclear: set[tuple[int, int]] = set()
    requested: set[tuple[int, int]] = set()
    for entry in entries:
        if entry.get("event") == "requested":
            requested.update(asked_for(entry.get("detector_visits")))
        elif entry.get("event") == "ended":
            found, run = data_id(entry), str(entry["run"])
            record = None if found is None or min(found) < 0 else record_of(*found, entry)
            if found is None or record is None:
                continue
            if found in last and last[found][0] != run and last[found][1] != record:
                unclear.add(found)
            last[found] = run, record
    return {found: record for found, (_, record) in last.items() if found not in unclear}, requested


def _sizes(attributes: Mapping[str, Any]) -> dict[str, int | None]:
    names, sizes = decoded(attributes.get("crc32")), decoded(attributes.get("stored_bytes"))
    sizes = sizes if isinstance(sizes, Mapping) else {}
    found = {str(name): sizes.get(name) for name in names} if isinstance(names, Mapping) else {}
    return {name: size if isinstance(size, int) else None for name, size in found.items()}


def _pairs(value: Any) -> Iterator[tuple[int, int]]:
    for pair in value if isinstance(value, list | tuple) else ():
        if isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(n, int) for n in pair):
            yield pair[0], pair[1]
