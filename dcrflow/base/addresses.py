"""Addresses without what they let in: an address that is written down is not the one that a store is opened with.

A URL may hold a password (``https://user:password@host``), a signature (presigned URLs, SAS tokens) or a key in its
query. Those who read a journal, a template, a report or a log need to know which store it was, not how to get in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

HIDDEN = "***"

#: Parts of a query that say which data are meant. All others are hidden: their names are too many to list.
_HARMLESS = {
    "collections", "dataset", "generation", "instrument", "partnumber", "skymap", "snapshot", "versionid", "where",
}  # fmt: skip

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/*")
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?://|(?=[A-Za-z/])[^\s:]*\?)[^\s\"'<>`]*")
_SECRET = (
    r"(?:x-(?:amz|goog|ms)-[\w-]+|awsaccesskeyid|(?:aws_|azure_)?(?:secret|access|account|session|security|api|refresh|sas)"
    r"[\w-]*(?:key|token|id)|password|passwd|secret|signature|sig|token|bearer|authorization|credentials?)"
)
_VALUE = r"(?:\"[^\"]*\"|'[^']*'|(?:(?:basic|bearer)\s+)?[^\s&,;\"'\)\]\}]+)"
_ASSIGNED = re.compile(
    rf"(?i)((?<![\w-]){_SECRET}\s*=\s*|[\"'](?:{_SECRET}|key)[\"']\s*[:=]\s*|\bauthorization:\s*){_VALUE}"
)
_INDIRECT = ("reference", "generic", "dask")  # of fsspec
_LOCAL = ("file:", "local:", "memory:")
_OF_CONTAINERS = ("abfs:", "abfss:", "wasb:", "wasbs:")  # container@account


def redacted(address: str) -> str:
    """An address without user names, passwords and the values of its query; a path as it is.

    Parameters
    ----------
    address : str
        A path, a URL, or several that fsspec chains (``simplecache::https://...``).
    """
    if "://" not in address and not address.startswith("butler:"):
        return address
    prefix = "butler:" if address.startswith("butler:") else ""
    return prefix + "::".join(_without_secrets(part) for part in address.removeprefix(prefix).split("::"))


def redacted_text(text: str) -> str:
    """A message without the secrets of its addresses, and without keys, tokens and passwords."""
    if "://" in text or "?" in text:
        text = _IN_TEXT.sub(lambda found: redacted(found[0]), text)
    return _ASSIGNED.sub(lambda found: f"{found[1]}{HIDDEN}", text)


def redacted_values(values: Any) -> Any:
    """The same of every text in lists and mappings, as JSON has them."""
    if isinstance(values, str):
        return redacted_text(values)
    if isinstance(values, Mapping):
        return {key: redacted_values(value) for key, value in values.items()}
    return [redacted_values(value) for value in values] if isinstance(values, list | tuple) else values


def indirection(address: str) -> str:
    """The protocol of an address that opens whatever a file at another address names; empty if there is none.

    An address that the user gave may have one, an address in a table or store may not.
    """
    protocols = [part.partition("://")[0].strip().lower() for part in address.split("::")]
    return next((p for p in protocols if p in _INDIRECT), "") if "::" in address or "://" in address else ""


def digest_of(address: str) -> str:
    """A name for what is at an address, the same however one gets in: a digest of the redacted address."""
    return blake2b(redacted(address).encode(), digest_size=16).hexdigest()


def _without_secrets(part: str) -> str:
    scheme = _SCHEME.match(part)
    if scheme is None or scheme[0].startswith(_LOCAL):
        return part
    rest = part[scheme.end() :]
    if scheme[0].endswith("//") and not (scheme[0].startswith(_OF_CONTAINERS) and ":" not in rest.partition("@")[0]):
        rest = _without_user(rest)
    rest, mark, _ = rest.partition("#")
    place, question, query = rest.partition("?")
    kept = [pair for pair in query.split("&") if pair.partition("=")[0].lower() in _HARMLESS]
    if question:
        hidden = [HIDDEN] if len(kept) < len(query.split("&")) else []
        place = f"{place}?{'&'.join([*kept, *hidden])}"
    return f"{scheme[0]}{place}{mark and mark + HIDDEN}"


def _without_user(rest: str) -> str:
    """What follows ``//``, without user and password; one with a slash in it, too."""
    host = re.match(r"[^/?#]*", rest)
    assert host is not None  # it matches nothing, too
    name, colon, port = host[0].rpartition("@")[2].partition(":")
    if "@" in host[0]:
        user, _, place = host[0].rpartition("@")
        return f"{HIDDEN}@{place}{rest[host.end() :]}" if user else rest
    if colon and port and not port.isdecimal() and "@" in rest and not name.startswith("["):
        return f"{HIDDEN}@{rest.rpartition('@')[2]}"
    return rest
