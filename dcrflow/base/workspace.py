"""Work space that is used again: fresh memory, zeroed page by page, costs more than much of what is done in it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class _Kept(threading.local):
    buffers: dict[str, NDArray[np.uint8]] | None = None


_KEPT = _Kept()


@contextmanager
def kept_scratch() -> Iterator[None]:
    """While it lasts, `scratch` hands out the same memory for the same name again, in this thread."""
    before, _KEPT.buffers = _KEPT.buffers, {} if _KEPT.buffers is None else _KEPT.buffers
    try:
        yield
    finally:
        _KEPT.buffers = before


def scratch(name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array with anything in it, good until the next of that name is asked for; zeros where memory is not kept."""
    if _KEPT.buffers is None:
        return np.zeros(shape, dtype)  # what is not touched takes no memory, and results depend on nothing before
    size = math.prod(shape) * np.dtype(dtype).itemsize
    kept = _KEPT.buffers.get(name)
    if kept is None or kept.size < size:
        kept = _KEPT.buffers[name] = np.empty(size, np.uint8)
    return kept[:size].view(dtype).reshape(shape)
