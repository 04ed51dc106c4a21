"""Runs of the verb `pretrain` on squares."""

import subprocess
from pathlib import Path

from square_pairs import config

from nonet.testing import call_cli, one_thread


def pretrain(
    folder: Path, files: dict[str, Path], *words: object, regions: bool = True, **options: object
) -> "subprocess.CompletedProcess[str]":
    """Call the verb with `options` as a file in `folder`, and with further words."""
    given = ["--pairs", files["pairs"], *(["--regions", files["regions"]] if regions else [])]
    with one_thread():
        return call_cli("timix", "pretrain", "--config", config(folder, **options), *given, *words)
