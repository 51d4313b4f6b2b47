"""The version of the package, as installed."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("dcrflow")
except PackageNotFoundError:  # a bare source tree on the path
    __version__ = "0+unknown"
