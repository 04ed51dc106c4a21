"""The ground floor of the method packages; importing it loads nothing but the standard library."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("nonet")
except PackageNotFoundError:  # a source tree on sys.path without an installed distribution
    __version__ = "0+unknown"
