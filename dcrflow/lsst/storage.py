"""Register dcrflow's dataset classes with a Butler.

Importing the task calls `register`, so such a process needs no change of the repository. Other processes, such as
``butler`` or a notebook, read the classes from the repository's ``butler.yaml`` after `prepare` has written them there.
If that file must not be changed, set ``DAF_BUTLER_CONFIG_PATH`` to `CONFIG_PATH`.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml
from lsst.daf.butler import StorageClass, StorageClassFactory

from dcrflow.base.errors import CoaddStoreError

CONFIG_PATH = Path(__file__).parent / "butler_config"
STORAGE_CLASSES = ("DcrTemplate", "DcrCoadd")
FORMATTER = "lsst.images.formatters.GenericFormatter"


class _LikeImages(StorageClass):
    """A storage class whose datasets are, by default, written like those of a stock class.

    A datastore finds the formatter of a dataset by the storage class's name in its configuration. This one gives the
    stock class's name as well, so that a repository that has never heard of dcrflow can keep its datasets. That is a
    private method of the Butler (tried with lsst-daf-butler 30.2026.4300); it can go when formatters are inherited.
    """

    like: str = "MaskedImageV2"

    def _lookupNames(self) -> Any:  # noqa: N802
        from lsst.daf.butler import LookupKey

        return (*super()._lookupNames(), LookupKey(name=self.like))


def register() -> None:
    """Make dcrflow's storage classes known to this process; calling it again does nothing."""
    factory = StorageClassFactory()
    factory.addFromConfig(str(CONFIG_PATH / "storageClasses.yaml"))
    for name in STORAGE_CLASSES:
        known = factory.getStorageClass(name)
        if type(known) is StorageClass:
            like = copy.copy(known)
            like.__class__ = _LikeImages
            factory.registerStorageClass(like)


def prepare(root: str) -> bool:
    """Write dcrflow's storage classes and their formatter into a repository's ``butler.yaml``.

    Parameters
    ----------
    root : str
        Directory of the repository.

    Returns
    -------
    bool
        Whether the configuration was changed.

    Raises
    ------
    CoaddStoreError
        If there is no such repository, or its configuration cannot be changed; the message says what to do instead.
    """
    path = Path(root) / "butler.yaml"
    own = yaml.safe_load((CONFIG_PATH / "storageClasses.yaml").read_text())["storageClasses"]
    try:
        config = yaml.safe_load(path.read_text()) or {}
        before = yaml.safe_dump(config)
        config.setdefault("storageClasses", {}).update(own)
        formatters = config.setdefault("datastore", {}).setdefault("formatters", {})
        formatters.update(dict.fromkeys(own, FORMATTER))
        if yaml.safe_dump(config) == before:
            return False
        partial = path.with_name("butler.yaml.partial")
        partial.write_text(yaml.safe_dump(config, sort_keys=False))
        partial.replace(path)
    except (OSError, yaml.YAMLError, AttributeError) as error:
        raise CoaddStoreError(
            f"cannot change {path}: {' '.join(str(error).split())}; set DAF_BUTLER_CONFIG_PATH={CONFIG_PATH} instead"
        ) from error
    return True
