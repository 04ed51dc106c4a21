"""The ground floor of the method packages; importing it loads nothing."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "__version__":
        raise AttributeError(f"module 'nonet' has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version  # 45 ms, which few need

    try:
        return version("nonet")
    except PackageNotFoundError:  # a source tree on sys.path without an installed distribution
        return "0+unknown"
