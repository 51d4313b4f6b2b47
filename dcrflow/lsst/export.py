"""Export templates from a template store to files for other programs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from dcrflow.base.addresses import redacted_values
from dcrflow.base.attributes import encoded, objects
from dcrflow.base.errors import DcrflowError, TemplateStoreError
from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.lsst.fits_templates import write_fits
from dcrflow.stores.files import whole_file
from dcrflow.stores.templates.store import TemplateStore
from dcrflow.stores.visits.select import select_some

_MOST_PIXELS = 1 << 28

Format = Literal["fits", "lsst-images", "lsst-difference"]


def export(
    store: TemplateStore | Any,
    directory: str | Path,
    kind: Format = "fits",
    *,
    where: str | None = None,
    limit: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write every complete template to a file ``template_<visit>_<detector>.fits``.

    Parameters
    ----------
    store : TemplateStore, or anything that `TemplateStore.open` takes
        The store to read.
    directory : str or path
        The directory to write to; created if it does not exist.
    kind : {"fits", "lsst-images", "lsst-difference"}
        LSST-style FITS (`dcrflow.lsst.fits_templates`); a `lsst.images.MaskedImage`; or a `lsst.images.DifferenceImage`
        (`dcrflow.lsst.difference`), with a nominal detector, because the store has only its pixels.
    where : str, optional
        An expression in instrument, visit, detector, band and physical_filter, as `dcrflow.stores.visits.select` takes.
    limit : int, optional
        Largest number of templates to write.
    overwrite : bool
        Replace files that exist; without it they are kept.
    progress : callable, optional
        Called with the number of templates done and the number of all.

    Returns
    -------
    int
        Files written.

    Raises
    ------
    TemplateStoreError
        If there is no such store, if nothing can be written, or if some templates cannot be exported. The others are
        exported first.
    """
    store, directory = TemplateStore.open(store), Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TemplateStoreError(
            f"cannot write to {directory}: {error}; give a directory that can be written"
        ) from error
    chosen = select_some([e for e in store.entries() if e["status"] == "complete"], where, limit)
    written, problems = 0, []
    for done, entry in enumerate(chosen, 1):
        path = directory / f"template_{entry['visit']}_{entry['detector']}.fits"
        if overwrite or not path.exists():
            problem = _exported(store, entry, path, kind)
            problems += problem
            written += not problem
        if progress is not None:
            progress(done, len(chosen))
    if problems:
        raise TemplateStoreError(
            f"{len(problems)} of {len(chosen)} templates cannot be exported from {store.url}: {'; '.join(problems[:3])}"
            f"{'; ...' if len(problems) > 3 else ''}; `dcrflow verify` says more"
        )
    return written


def _exported(store: TemplateStore, entry: Mapping[str, Any], path: Path, kind: Format) -> list[str]:
    """Export one template; returns the problems if that is impossible."""
    named = f"visit {entry['visit']} detector {entry['detector']}"
    try:
        template = store.read(entry["visit"], entry["detector"])
        if math.prod(template.sizes.get(d, 1) for d in ("y", "x")) > _MOST_PIXELS:
            raise TemplateStoreError(f"{named}: it has {dict(template.sizes)} pixels")
        about = redacted_values(json.loads(json.dumps(objects(template.attrs), default=_plain)))
        template = template.load().assign_attrs(encoded(about))
        write_fits(template, path) if kind == "fits" else _write_archive(template, path, kind)
    except (DcrflowError, ImportError) as error:
        return [str(error)]
    except Exception as error:  # whatever attributes and variables of the wrong kind make of the libraries
        return [f"{named}: {type(error).__name__}: {' '.join(str(error).split())}"]
    return []


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else list(value)


def _write_archive(template: Any, path: Path, kind: Format) -> None:
    from lsst.images.serialization import write_archive

    from dcrflow.lsst.difference import TemplateInput, difference_image, made_up_dataset
    from dcrflow.lsst.output import masked_image_of
    from dcrflow.lsst.repository import nominal_detector, nominal_observation

    about = objects(template.attrs)
    wcs = about.get("wcs")
    if wcs is None:
        raise TemplateStoreError(f"{path.stem}: its WCS is not a FITS WCS and cannot be converted for lsst.images")
    made = masked_image_of(template, SkyWcs.from_header(wcs))
    if kind == "lsst-difference":
        url = str(about["inputs"])
        inputs = [TemplateInput("", t, p, [made_up_dataset(url, t, p)]) for t, p in about["patches"]]
        data_id = str(about["instrument"]), int(about["visit"]), int(about["detector"])
        observation = nominal_observation(*data_id, str(about["physical_filter"] or about["band"]))
        made = difference_image(made, template, nominal_detector(*data_id, Box(*about["bbox"])), observation, inputs)
    with whole_file(path) as partial:
        write_archive(made, str(partial))
