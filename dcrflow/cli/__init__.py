"""The command line: it parses, calls, and shows; what it shows is made elsewhere."""

from dcrflow.cli.app import main

__all__ = ["main"]
