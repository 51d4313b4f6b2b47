"""A shard that appears while it is read: before anybody asks whether it is there, or half written when it is."""

import numpy as np
import pytest
from scenes import IMAGE, TRACT, coadds
from zarr.storage import MemoryStore

from dcrflow.base.masks import STANDARD_PLANES
from dcrflow.stores.coadds.store import open_coadds

LATE = "7/0/g/image/c/1/0/0"


class Appearing(MemoryStore):
    """A store that has a shard only from a number of requests for it on; meanwhile nothing, or half of it."""

    _supports_sync_io = False
    requests, after, half = 0, 1, False

    async def get(self, key, prototype, byte_range=None):  # type: ignore[no-untyped-def]
        cls = type(self)
        if key == LATE:
            cls.requests += 1
            if cls.requests <= cls.after:
                return None
            if cls.half and cls.requests <= 2 * cls.after + 2:
                whole = await super().get(key, prototype, byte_range)
                return None if whole is None else prototype.buffer.from_bytes(bytes(len(whole)))
        return await super().get(key, prototype, byte_range)


@pytest.mark.parametrize("half", [False, True])
def test_it_is_read_again(half: bool) -> None:
    sound = coadds(IMAGE)
    expected = open_coadds(sound).read(7, 0, "g", TRACT.patch(0).bbox, STANDARD_PLANES)
    Appearing.requests, Appearing.half = 0, half
    found = open_coadds(Appearing(sound._store_dict)).read(7, 0, "g", TRACT.patch(0).bbox, STANDARD_PLANES)
    assert Appearing.requests > 1
    assert not found.damage
    np.testing.assert_array_equal(found.image, expected.image)
