"""The errors that dcrflow raises.

Every error derives from `DcrflowError` and from the built-in error that a caller would expect, so that both
``except DcrflowError`` and ``except LookupError`` work. A message says what was found, what was expected, where (store,
tract, patch, visit, detector) and what to do about it.
"""

from __future__ import annotations

from reprlib import Repr

from dcrflow.base.addresses import redacted_text

_LONG_WORD, _LONG = 400, 2400  # letters; a path may be as long as the former


class _Brief(Repr):
    def repr_str(self, x: str, level: int) -> str:
        """The repr of a text. Secrets are hidden before it is cut: the rest of a secret is not recognised."""
        return super().repr_str(redacted_text(x), level)


_BRIEF = _Brief()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 80
_BRIEF.maxlevel, _BRIEF.maxlist, _BRIEF.maxdict = 2, 3, 3


def brief(value: object) -> str:
    """A value from outside as a message quotes it: its repr without secrets, cut to about 80 characters per word."""
    return redacted_text(_BRIEF.repr(value))


def shortened(text: str) -> str:
    """A message in which the middle of every word that is too long is left out, and of the whole if it is too long."""
    if len(text) <= _LONG_WORD:
        return text
    text = " ".join(w if len(w) <= _LONG_WORD else f"{w[:80]}...{w[-40:]}" for w in text.split(" "))
    return text if len(text) <= _LONG else f"{text[: _LONG // 2]} ... {text[-_LONG // 4 :]}"


class DcrflowError(Exception):
    """Base of every error that dcrflow raises on purpose; its words are `shortened`, and tell no secrets."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(shortened(redacted_text(a)) if isinstance(a, str) else a for a in args))


class ConfigError(DcrflowError, ValueError):
    """A configuration key is unknown or its value unusable."""


class CoaddStoreError(DcrflowError, ValueError):
    """A DCR-coadd store cannot be opened, or is not laid out as one."""


class TemplateStoreError(DcrflowError, ValueError):
    """A template store cannot be opened or written, or is not laid out as one."""


class NoPsfError(DcrflowError, LookupError):
    """A template has no PSF."""


class VisitTableError(DcrflowError, ValueError):
    """A detector-visit table cannot be read, or a row of it is unusable."""


class VisitImageError(DcrflowError, ValueError):
    """The image of a detector-visit cannot be read, or its pixels, variance or PSF cannot be used."""


class MissingSubfilterError(DcrflowError, LookupError):
    """A patch does not have the number of subfilters that the configuration asks for."""


class InconsistentCoaddsError(DcrflowError, ValueError):
    """Patches of one detector-visit differ in band, subfilters, photometric calibration or units."""


class NoOverlapError(DcrflowError, LookupError):
    """No patch of the coadds overlaps the detector ("no work found")."""


class ObservationError(DcrflowError, ValueError):
    """An observation cannot be used: below the horizon, or without what gives its direction."""


class WcsError(DcrflowError, ValueError):
    """A WCS cannot be read, or does not map pixels to the sky and back."""


class ClusterError(DcrflowError, ConnectionError):
    """A cluster cannot be understood or reached."""


class SchedulerLostError(ClusterError):
    """The scheduler of a run that had begun does not answer any more."""
