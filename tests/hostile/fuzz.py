"""`python tests/hostile/fuzz.py NAME [-max_total_time=SECONDS ...]`: atheris (which pip installs) against a reader.

NAME is one of `hostile.readers.READERS`; the other words are libFuzzer's. It stops at the first error that is not
dcrflow's own, and leaves the bytes that led to it. dcrflow's modules and PyYAML's tell libFuzzer which way they went,
but for those that numba compiles.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path[:] = [p for p in sys.path if Path(p).resolve() != Path(__file__).parent.resolve()]

_ROOT = Path(__file__).parents[2]
_COMPILED = [
    ".".join(path.relative_to(_ROOT).with_suffix("").parts)
    for path in (_ROOT / "dcrflow").rglob("*.py")
    if "import njit" in path.read_text()
]

with atheris.instrument_imports(include=["dcrflow", "yaml"], exclude=_COMPILED):
    from hostile.readers import READERS, mutated, tried


def main() -> None:
    """Fuzz until libFuzzer has had enough."""
    name = sys.argv.pop(1)
    reader = READERS[name]
    warnings.simplefilter("ignore")

    def once(content: bytes) -> None:
        provider = atheris.FuzzedDataProvider(content)
        good = reader.good(provider.ConsumeIntInRange)
        tried(reader.read, mutated(good, provider.ConsumeIntInRange))

    atheris.Setup(sys.argv, once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
