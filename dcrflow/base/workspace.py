"""Memory for intermediate arrays that is used again for the next tile.

Fresh memory is zeroed by the operating system page by page, which costs more than much of what is done in it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Workspace:
    """Arrays by name, lent out again and again.

    Whoever makes a workspace decides how long its memory is kept, and passes it to the steps. A step's result may be
    an array of it: it is good until the same step runs again with the same workspace. Not for several threads at once.

    Parameters
    ----------
    reuse : bool
        False to lend every array out once, for a step whose result is kept. Such a workspace may serve any number of
        threads.
    zeroed : bool
        Whether arrays that are lent out once are zero; anything is in them otherwise.
    """

    def __init__(self, reuse: bool = True, zeroed: bool = True) -> None:
        self._new = np.zeros if zeroed else np.empty
        self._buffers: dict[str, NDArray[np.uint8]] | None = {} if reuse else None

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array with anything in it; good until an array of the same name is asked for.

        Parameters
        ----------
        name : str
            Which array. Each name belongs to one module, so that no module overwrites another's.
        shape : tuple of int
            Its shape.
        dtype : data-type
            Its dtype.
        """
        if self._buffers is None:
            return self._new(shape, dtype)
        size = math.prod(shape) * np.dtype(dtype).itemsize
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name] = np.empty(size, np.uint8)
        return buffer[:size].view(dtype).reshape(shape)


#: Lends new arrays only, all zero.
NEW_MEMORY = Workspace(reuse=False)

#: Lends new arrays only, with anything in them: memory that a worker keeps is not zeroed before it is filled.
UNSET_MEMORY = Workspace(reuse=False, zeroed=False)
