"""Base texts of a verification: the half that training rows never use. Source: ours."""

from collections.abc import Sequence
from pathlib import Path

LEAST = 400
"""texts below which bundled sentences are added; half of them are for verifications"""


def verify_texts(paths: Sequence[str | Path], least: int = LEAST) -> list[str]:
    """The texts of the verification half.

    Args:
        paths: the owner's data; none: bundled sentences alone.
        least: texts of both halves below which bundled sentences are added.
    """
    from double_i.base_texts import base_texts, halves
    from double_i.examples import read_examples

    rows = (row.example for row in read_examples(paths)) if paths else iter(())
    return halves(base_texts(rows, least))[1]
