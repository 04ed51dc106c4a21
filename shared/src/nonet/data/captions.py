"""Captions as image-text models see them: cleaned, cut in two, and whether they tell left from right.

The clean-up is that of ALBEF's released code (Li et al. 2021), which mPLUG and TiMix kept; the cut is the one
of their prefix language modelling.
"""

import hashlib
import re

from nonet.errors import UserError

MAX_WORDS = 30  # of a caption, in the released configurations

_DELETED = str.maketrans("", "", ",.'!?\"()*#:;~")
_SIDES = re.compile(r"\b(left|right)(most|hand|ward|wards)?\b", re.IGNORECASE)


def clean_caption(text: str, max_words: int = MAX_WORDS) -> str:
    """A caption in lower case, without most punctuation, of so many words at most.

    `, . ' ! ? " ( ) * # : ; ~` are deleted, `-` and `/` become spaces, `<person>` (Conceptual Captions' mark)
    becomes `person`; white space of any kind becomes one space.

    Args:
        text: as it was written.
        max_words: words that stay; 0: all.

    Returns:
        The caption; empty if nothing stays.
    """
    text = text.lower().translate(_DELETED).replace("-", " ").replace("/", " ")
    words = text.replace("<person>", "person").split()
    return " ".join(words[:max_words] if max_words else words)


def caption_number(caption: str) -> int:
    """A number in 0..2^63-1 that equal captions share, on every machine; others hardly ever do."""
    return int.from_bytes(hashlib.blake2b(caption.encode(), digest_size=8).digest()) >> 1


def tells_sides(caption: str) -> bool:
    """Whether a caption says left or right, so that it is wrong of the mirrored image."""
    return _SIDES.search(caption) is not None


def split_prefix(caption: str, cut: int) -> tuple[str, str]:
    """A caption's first `cut` words, which a decoder is given, and the others, which it has to write.

    Args:
        caption: words between spaces.
        cut: 0 (nothing is given) to words - 1.

    Returns:
        (prefix, rest); the rest is never empty.

    Raises:
        UserError: the cut leaves nothing to write.
    """
    words = caption.split()
    if not 0 <= cut < len(words):
        raise UserError(f"a caption of {len(words)} words cannot be cut after {cut}: {caption[:80]!r}")
    return " ".join(words[:cut]), " ".join(words[cut:])
