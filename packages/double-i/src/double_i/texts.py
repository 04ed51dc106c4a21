"""Base texts of a verification: the half that training rows never use. Source: ours."""

from collections.abc import Sequence
from pathlib import Path

LEAST = 200
"""texts below which bundled sentences are added"""


def verify_texts(paths: Sequence[str | Path], least: int = LEAST) -> list[str]:
    """The texts of the verification half.

    Args:
        paths: the owner's data; none: bundled sentences alone.
        least: texts of that half below which bundled sentences are added.
    """
    from double_i.base_texts import half_texts
    from double_i.examples import read_examples

    rows = (row.example for row in read_examples(paths)) if paths else iter(())
    return half_texts(rows, 1, least)
