"""The command line: parses arguments, calls the library and prints its results."""

from dcrflow.cli.app import main

__all__ = ["main"]
