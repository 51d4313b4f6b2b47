"""Templates out of a template store, into files that others read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from dcrflow.errors import TemplateStoreError
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.lsst.fits_templates import write_fits
from dcrflow.stores.templates import TemplateStore

Format = Literal["fits", "lsst-images"]


def export(
    store: TemplateStore | Any,
    directory: str | Path,
    kind: Format = "fits",
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write every complete template to a file ``template_<visit>_<detector>.fits``.

    Parameters
    ----------
    store : TemplateStore, or anything that `TemplateStore.open` takes
        Where from.
    directory : str or path
        Where to; made if need be.
    kind : {"fits", "lsst-images"}
        LSST-style FITS (`dcrflow.lsst.fits_templates`), or a `lsst.images.MaskedImage`.
    overwrite : bool
        Write again what is there; it is left alone otherwise.
    progress : callable, optional
        Called with the number of templates done, and of all.

    Returns
    -------
    int
        Files written.
    """
    store, directory = TemplateStore.open(store), Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TemplateStoreError(
            f"cannot write to {directory}: {error}; give a directory that can be written"
        ) from error
    records = [r for r in store.records() if r.status == "complete"]
    written = 0
    for done, record in enumerate(records, 1):
        path = directory / f"template_{record.visit}_{record.detector}.fits"
        if overwrite or not path.exists():
            template = store.read(record.visit, record.detector).load()
            template = template.assign_attrs(json.loads(json.dumps(template.attrs, default=_plain)))
            write_fits(template, path) if kind == "fits" else _write_masked_image(template, path)
            written += 1
        if progress is not None:
            progress(done, len(records))
    return written


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else list(value)


def _write_masked_image(template: Any, path: Path) -> None:
    from lsst.images.serialization import write_archive

    from dcrflow.lsst.output import masked_image_of

    wcs = template.attrs.get("wcs")
    if wcs is None:
        raise TemplateStoreError(f"{path.stem}: its WCS is no FITS WCS; lsst.images cannot be given it")
    path.unlink(missing_ok=True)
    write_archive(masked_image_of(template, SkyWcs.from_header(wcs)), str(path))
