"""ROUGE-L of captions, with the readings of the evaluation of COCO captions.

Source: Lin 2004, "ROUGE: a package for automatic evaluation of summaries"; what differs from it follows
pycocoevalcap 1.2: beta is 1.2, and the best precision and the best recall are taken over the references
each by itself, so that they may come from two of them.
"""

from collections.abc import Mapping, Sequence
from math import fsum
from typing import NamedTuple

from nonet.metrics.caption_tokens import gather

BETA = 1.2


class RougeL(NamedTuple):
    """ROUGE-L, 0..1.

    Attributes:
        score: mean over images.
        by_image: of each image.
    """

    score: float
    by_image: dict[str, float]


def caption_rouge_l(
    captions: Mapping[str, str], references: Mapping[str, Sequence[str]], *, tokenised: bool = False
) -> RougeL:
    """ROUGE-L: (1 + b²) P R / (R + b² P) with b = 1.2, P = max LCS / |c|, R = max LCS / |r|.

    `a b c d` for the references `a b` and `a b c d e f g h` has P = 1 and R = 1 and so 1, although neither
    reference gives both.

    Args:
        captions: image -> caption.
        references: image -> captions of people.
        tokenised: the texts are tokens with blanks between them already.

    Returns:
        The mean and each image's value; 0 for a caption without words.

    Raises:
        UserError: a caption is missing or no text, or an image has no references.
    """
    images, ours, theirs = gather(captions, references, tokenised=tokenised)
    values = [_score(words, people) for words, people in zip(ours, theirs, strict=True)]
    return RougeL(fsum(values) / len(values), dict(zip(images, values, strict=True)))


def _score(caption: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    common = [_lcs(caption, reference) for reference in references]
    if not any(common):
        return 0.0
    precision = max(common) / len(caption)
    recall = max(n / len(reference) for n, reference in zip(common, references, strict=True) if reference)
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _lcs(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest common subsequence: bits of `row` are 0 where a column's length grows."""
    places: dict[str, int] = {}
    for i, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << i
    full = row = (1 << len(left)) - 1
    for word in right:
        hits = row & places.get(word, 0)
        row = ((row + hits) | (row - hits)) & full
    return len(left) - row.bit_count()
