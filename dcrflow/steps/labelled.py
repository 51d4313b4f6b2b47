"""A step as a graph's task calls it: with a label that its errors carry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, repr=False)
class LabelledStep:
    """A step's function and the label of what it works on; its errors get a note with both, also on a worker.

    Parameters
    ----------
    function : callable
        The step.
    label : str
        Of the detector-visit or patch, as messages name it.
    """

    function: Callable[..., object]
    label: str

    def __call__(self, *arguments: object) -> object:
        try:
            return self.function(*arguments)
        except Exception as error:
            error.add_note(f"in {self}")
            raise

    def __repr__(self) -> str:
        return f"{self.function.__name__} of {self.label}"
