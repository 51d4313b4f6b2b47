"""Methods that a class derived from `GetDcrTemplateTask` overrides: which are called, how, and which are refused.

Derived classes were written for either generation of the reference task. So an override of ``run`` is called with the
arguments that it has, and one of ``getOverlappingExposures`` is called in place of ``getExposures``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from lsst.pipe.base import Struct

from dcrflow.lsst import overlap

#: Methods of the reference task that dcrflow does not call, and what to do instead.
REFUSED: Mapping[str, str] = {
    "_merge": "patches are shifted, summed and resampled in one pass; set combine and warp.warpingKernelName",
    "_makeExposureCatalog": "no whole coadds are read; override getExposures to choose coadds, or _makePsf",
    "_correctVariance": "the variance is propagated through each step; change it in an override of run",
    "_plateScaleFactor": "the variance is propagated through each step; change it in an override of run",
    "_templatePsfSigma": "override _makePsf",
    "convert_outputs_to_future": "set output, or convert the template in an override of run",
}

_OF_QUANTUM: ContextVar[Mapping[str, Any]] = ContextVar("dcrflow_quantum", default={})  # noqa: B039 (never changed)


def refuse(derived: type) -> None:
    """Refuse a class with methods that override the reference's and would never be called.

    Raises
    ------
    TypeError
        Names the method and says what to use instead.
    """
    for name, instead in REFUSED.items():
        if hasattr(derived, name):
            raise TypeError(f"{derived.__name__}.{name} would never be called: {instead}")


def is_overridden(task: Any, base: type, name: str) -> bool:
    """Whether a task's class has its own method of this name."""
    return getattr(type(task), name) is not getattr(base, name)


def overlapping(task: Any, base: type, inputs: Mapping[str, Any]) -> Struct:
    """The coadds under the detector, by the method that a derived class overrides.

    Parameters
    ----------
    task : GetDcrTemplateTask
        The task.
    base : type
        `GetDcrTemplateTask` itself.
    inputs : mapping
        ``dcrCoadds``, ``bbox``, ``wcs``, ``visitInfo`` and, if there is one, ``skyMap``.
    """
    if is_overridden(task, base, "getOverlappingExposures"):
        found: Struct = task.getOverlappingExposures({**inputs, "coaddExposureRefs": inputs["dcrCoadds"]})
    else:
        found = task.getExposures(
            inputs["dcrCoadds"], inputs["bbox"], inputs.get("skyMap"), inputs["wcs"], inputs["visitInfo"]
        )
    return found


def call_run(task: Any, found: Struct, arguments: Mapping[str, Any]) -> Struct:
    """Call a task's ``run`` with the arguments that it has, and name the template as the output connection does.

    Parameters
    ----------
    task : GetDcrTemplateTask
        The task.
    found : lsst.pipe.base.Struct
        ``coaddExposures`` and ``dataIds``, as lists or by tract.
    arguments : mapping
        ``bbox``, ``wcs``, ``physical_filter`` and ``visit``.
    """
    parameters = inspect.signature(task.run).parameters
    coadds, ids = found.coaddExposures, found.dataIds
    given: dict[str, Any]
    if "coaddExposureHandles" not in parameters and "coaddExposures" in parameters:
        given = {"coaddExposures": overlap.flat(coadds), "dataIds": overlap.flat(ids)}
    else:
        given = {"coaddExposureHandles": overlap.grouped(coadds, ids), "dataIds": overlap.grouped(ids, ids)}
    any_name = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    given |= {name: value for name, value in arguments.items() if any_name or name in parameters}
    outputs: Struct = task.run(**given)
    if hasattr(outputs, "outputExposure") and not hasattr(outputs, "template"):
        outputs.mergeItems(Struct(template=outputs.outputExposure), "template")
    return outputs


@contextmanager
def quantum(**components: Any) -> Iterator[None]:
    """Keep what a quantum has and ``run`` has no argument for, while the quantum is executed by this thread."""
    token = _OF_QUANTUM.set(components)
    try:
        yield
    finally:
        _OF_QUANTUM.reset(token)


def of_quantum() -> Mapping[str, Any]:
    """What `quantum` keeps; empty outside of a quantum."""
    return _OF_QUANTUM.get()
