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
_WITHIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://")
_IN_TEXT = re.compile(  # repeats before a required character are bounded, or time grows with the square of the length
    r"[A-Za-z][A-Za-z0-9+.-]{0,30}:(?://(?:[^\s/<>@]{0,400}@)?|(?=[A-Za-z/])[^\s:?]{0,4000}\?)[^\s\"'<>`]*"
)
_AS_PATH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{1,30}:/)[^\s/<>@:]{0,80}:[^\s/<>@]{0,400}@")  # as pathlib writes a URL
_BARE = re.compile(
    r"(?<![\w/@:.%+-])[\w.%+-]{1,80}:[^\s/\"'<>@,;()]{1,200}@(?=[\w\[*])"
)  # user:password@host, when a library has split the URL
_QUOTED = re.compile(r"(?i)([a-z][a-z0-9+.-]{0,30}%3a%2f%2f)[^\s\"'<>`]*")  # a URL within the query of another
_SECRET = (
    r"(?:x-(?:amz|goog|ms)-|awsaccesskeyid|secret|passw(?:or)?d|passphrase|(?<![a-z])pwd|signature|(?<![a-z])sig(?![a-z])|"
    r"token|bearer|credential|(?:access|account|api|encryption|master|private|session|security|shared|storage)[_-]?key|"
    r"(?<![a-z])auth(?:orization)?(?![a-z])|(?<![a-z])(?:account|session|sas)[_-]?id)[\w-]{0,40}"
)
_VALUE = r"(?:\"[^\"]*\"|'[^']*'|\([^()]*\)|(?:(?:basic|bearer)\s+)?[^\s&,;\"'\)\]\}<>]+)"
_HEADER = r"\b(?:(?:proxy-)?authorization|(?:set-)?cookie|x-api-key|x-[\w-]{0,40}token)"
_ASSIGNED = re.compile(
    rf"(?i)({_SECRET}\s{{0,9}}=\s{{0,9}}|[\"'][\w-]{{0,40}}(?:{_SECRET}|(?<=[\"'])key)[\"']\s{{0,9}}[:=]\s{{0,9}}|"
    rf"{_HEADER}:\s{{0,9}}|<{_SECRET}>){_VALUE}"
)
_NAME = re.compile(rf"(?i)[\w-]{{0,40}}{_SECRET}")
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
        return _AS_PATH.sub(rf"\g<1>{HIDDEN}@", address)
    prefix = "butler:" if address.startswith("butler:") else ""
    parts = (_without_secrets(part) for part in address.removeprefix(prefix).split("::"))
    return _unassigned(prefix + "::".join(parts))


def redacted_text(text: str) -> str:
    """A message without the secrets of its addresses, and without keys, tokens and passwords."""
    if "://" in text or "?" in text:
        text = _IN_TEXT.sub(lambda found: redacted(found[0]), text)
    if "@" in text:
        text = _BARE.sub(f"{HIDDEN}@", _AS_PATH.sub(rf"\g<1>{HIDDEN}@", text))
    if "%" in text:
        text = _QUOTED.sub(lambda found: f"{found[1]}{HIDDEN}", text)
    return _unassigned(text)


def redacted_values(values: Any) -> Any:
    """The same of every text in lists and mappings, as JSON has them."""
    if isinstance(values, str):
        return redacted_text(values)
    if isinstance(values, Mapping):
        named = "secret" in values  # beside it, `key` is one too
        return {
            key: HIDDEN if isinstance(value, str) and _is_secret(key, named) else redacted_values(value)
            for key, value in values.items()
        }
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


def _unassigned(text: str) -> str:
    return _ASSIGNED.sub(lambda found: f"{found[1]}{HIDDEN}", text)


def _is_secret(name: object, beside_secret: bool) -> bool:
    return isinstance(name, str) and (_NAME.fullmatch(name) is not None or (beside_secret and name == "key"))


def _without_secrets(part: str) -> str:
    scheme = _SCHEME.match(part)
    if scheme is None:  # what is before it may be a blank, or `name=`
        within = _WITHIN.search(part)
        return part if within is None else part[: within.start()] + _without_secrets(part[within.start() :])
    if scheme[0].lower().startswith(_LOCAL):
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
