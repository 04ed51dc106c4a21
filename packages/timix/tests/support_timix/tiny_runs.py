"""Runs of the verb `pretrain` on squares."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from square_pairs import config

from nonet.report.page import Page
from nonet.testing import call_cli, one_thread
from timix import mix_training


def pretrain(
    folder: Path, files: dict[str, Path], *words: object, regions: bool = True, **options: object
) -> "subprocess.CompletedProcess[str]":
    """Call the verb with `options` as a file in `folder`, and with further words."""
    given = ["--pairs", files["pairs"], *(["--regions", files["regions"]] if regions else [])]
    with one_thread():
        return call_cli("timix", "pretrain", "--config", config(folder, **options), *given, *words)


@contextlib.contextmanager
def plain_pages() -> Iterator[None]:
    """Leave curves out of the pages of runs: to draw them takes longer than such a run."""

    def page(folder: Path) -> Page:
        return Page(folder.name)

    pages = sys.modules["nonet.report.run_page"]  # the package has a function of the same name
    with mock.patch.object(mix_training, "run_page", page), mock.patch.object(pages, "run_page", page):
        yield
