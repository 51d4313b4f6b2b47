"""python -m dcrflow: the command line."""

from dcrflow.cli import main

main()
