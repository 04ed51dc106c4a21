"""Where benchmarks find real data: in the folder of NONET_DATA, or in `shared/data` beside the checkout."""

import os
from pathlib import Path

from benchmarks.circumstances import ROOT


def data_folder(*parts: str) -> Path | None:
    """A folder or file of the real data, or None where it is not."""
    path = Path(os.environ.get("NONET_DATA") or ROOT.parent / "shared" / "data").joinpath(*parts)
    return path if path.exists() else None
