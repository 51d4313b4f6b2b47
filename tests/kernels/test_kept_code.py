"""Compiled code that numba keeps is out of date when any kernel has changed: kernels contain those that they call."""

from pathlib import Path

from dcrflow.compat.numba_cache import digest_of_sources, njit
from dcrflow.kernels.match import match_pieces


def test_every_source_counts(tmp_path: Path) -> None:
    found = set()
    for name, text in (("a.py", "1"), ("b.py", "1"), ("a.py", "2"), ("c.py", ""), ("c.py", "1")):
        (tmp_path / name).write_text(text)
        digest_of_sources.cache_clear()
        found.add(digest_of_sources(tmp_path))
    digest_of_sources.cache_clear()
    assert len(found) == 5


def test_it_goes_into_what_numba_compares() -> None:
    digest = digest_of_sources()
    for function in (match_pieces, njit(cache=True)(_twice)):
        assert function._cache._cache_file._source_stamp.endswith(digest)
    assert njit(cache=True)(_twice)(3) == 6


def _twice(x: int) -> int:
    return 2 * x
