"""`python tests/hostile [--write] [WORD ...]`: print the table of bad input, or of the cases with one of the words.

With --write it also goes into the documentation.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path[:] = [p for p in sys.path if Path(p).resolve() != Path(__file__).parent.resolve()]

from hostile.table import CASES, PAGE, markdown, outcomes, with_table  # noqa: E402


def main() -> None:
    """Run the cases; exits 1 if any of them harmed what it should not have."""
    words = [word for word in sys.argv[1:] if word != "--write"]
    rows = outcomes([n for n, c in enumerate(CASES) if not words or any(w in c.name for w in words)])
    print(markdown(rows))
    if "--write" in sys.argv:
        PAGE.write_text(with_table(PAGE.read_text(), markdown(rows)))
    harm = [f"{row.case}: {what}" for row in rows for what in row.harm]
    print("\n".join(harm), file=sys.stderr)
    sys.exit(1 if harm else 0)


if __name__ == "__main__":
    main()
