"""A template as the files of a zarr group: its arrays one after the other, its attributes last."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.storage import MemoryStore

from dcrflow.base.attributes import objects
from dcrflow.base.masks import NO_DATA, planes_from_attributes
from dcrflow.stores import templates as room
from dcrflow.stores.zarr.arrays import KEYS, KeyEncoding
from dcrflow.stores.zarr.checksums import digest_of_layout, digest_of_words

if TYPE_CHECKING:
    import xarray as xr

#: Attributes that depend on how the arrays are stored, not on what they are.
OF_FILES = ("stored_bytes", "layout_crc32", "attributes_crc32")


class EncodedTemplate:
    """A template in memory, to be written as files.

    Parameters
    ----------
    template : xarray.Dataset
        In memory, with all its attributes but those made here.
    """

    def __init__(self, template: xr.Dataset) -> None:
        self._planes = planes_from_attributes(template["mask"].attrs)
        self._dims = {str(n): tuple(str(d) for d in v.dims) for n, v in template.variables.items()}
        self._values = {str(name): np.asarray(variable.values) for name, variable in template.variables.items()}
        self._said = {str(n): {**_words_of(v), **_coordinates(template, str(n))} for n, v in template.variables.items()}
        digests = {name: digest(array) for name, array in self._values.items()}
        #: The group's attributes; those of `OF_FILES` once all files were made.
        self.about: dict[str, Any] = {**objects(template.attrs), "crc32": digests, "status": "complete"}

    def is_said_by(self, there: Mapping[str, Any] | None) -> bool:
        """Whether some group's attributes say that it is this template."""
        return there is not None and _but_files(there) == json.loads(json.dumps(_but_files(self.about)))

    def files(self, keys: KeyEncoding = KEYS[0]) -> Iterator[tuple[str, Any]]:
        """Name and content of each file, within the group; ``zarr.json`` with the status is the last.

        Parameters
        ----------
        keys : KeyEncoding
            How the keys of chunks are formed.
        """
        written: dict[str, Any] = {}
        group = zarr.create_group(MemoryStore(written), zarr_format=3)
        sizes, documents = {}, {}
        for name, array in self._values.items():
            fill = 1 << self._planes[NO_DATA] if name == "mask" else np.nan if array.dtype.kind == "f" else 0
            room.write_array(group, name, self._dims[name], array, fill=fill, attributes=self._said[name], keys=keys)
            names = sorted(key for key in written if key.startswith(f"{name}/"))
            sizes[name] = sum(len(written[key]) for key in names if not key.endswith("zarr.json"))
            documents[name] = json.loads(written[f"{name}/zarr.json"].to_bytes())
            for key in names:
                yield key, written.pop(key).as_buffer_like()
        self.about["stored_bytes"] = sizes
        self.about["layout_crc32"] = digest_of_layout(documents)
        self.about["attributes_crc32"] = digest_of_words(self.about, self._said)
        group.update_attributes(self.about)
        yield "zarr.json", written["zarr.json"].as_buffer_like()


def encoded_status(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The one file of a group without arrays."""
    written: dict[str, Any] = {}
    zarr.create_group(MemoryStore(written), zarr_format=3, attributes=dict(attributes))
    yield "zarr.json", written["zarr.json"].as_buffer_like()


def digest(values: NDArray[Any]) -> int:
    """CRC-32 of an array's bytes."""
    return crc32(np.ascontiguousarray(values).reshape(-1).view(np.uint8))


def _but_files(about: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in about.items() if name not in OF_FILES}


def _words_of(variable: xr.Variable) -> dict[str, Any]:
    """The attributes of a variable as JSON has them; netCDF gives arrays of numpy."""
    return {str(n): v.tolist() if isinstance(v, np.ndarray | np.generic) else v for n, v in variable.attrs.items()}


def _coordinates(template: xr.Dataset, name: str) -> dict[str, str]:
    """CF's attribute for the coordinates of a data variable that are not its dimensions."""
    if name not in template.data_vars:
        return {}
    names = sorted(str(c) for c in template[name].coords if c not in template.dims)
    return {"coordinates": " ".join(names)} if names else {}
