"""BLEU-1 to BLEU-4 of captions, with the constants of the evaluation of COCO captions.

Source: Papineni et al. 2002, "BLEU: a method for automatic evaluation of machine translation", in the
reading of pycocoevalcap 1.2: counts of all images are added up first; an image's reference length is the
one nearest to its caption's (of equally near ones the shorter); precisions are (hits + 1e-15) / (guesses +
1e-9), so that no hits give nearly 0 and not an error.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.metrics.caption_ngrams import Grams, Integers, Texts, look_up
from nonet.metrics.caption_tokens import gather

LONGEST = 4
TINY, SMALL = 1e-15, 1e-9

Floats = NDArray[np.float64]


class Bleu(NamedTuple):
    """BLEU, 0..1.

    Attributes:
        score: BLEU-4 of all images together.
        orders: BLEU-1, 2, 3 and 4 of all images together.
        by_image: BLEU-1, 2, 3 and 4 of each image alone; their mean is not the score.
        length_ratio: words of all captions / words of the references nearest in length.
    """

    score: float
    orders: tuple[float, ...]
    by_image: dict[str, tuple[float, ...]]
    length_ratio: float


def caption_bleu(
    captions: Mapping[str, str], references: Mapping[str, Sequence[str]], *, tokenised: bool = False
) -> Bleu:
    """BLEU-N = min(1, e^(1 - r/c)) (Π_n hits_n / guesses_n)^(1/N), summed over images before dividing.

    `the the the cat` for `the cat sat down` has the hits 2 of 4, 1 of 3, 0 of 2 and 0 of 1, so that BLEU-1 is
    .5 and BLEU-2 is sqrt(1/6).

    Args:
        captions: image -> caption.
        references: image -> captions of people.
        tokenised: the texts are tokens with blanks between them already.

    Raises:
        UserError: a caption is missing or no text, or an image has no references.
    """
    images, ours, theirs = gather(captions, references, tokenised=tokenised)
    n_images = len(images)
    texts = Texts([*ours, *(words for people in theirs for words in people)])
    people = [len(each) for each in theirs]
    image = np.concatenate([np.arange(n_images), np.repeat(np.arange(n_images), people)])
    hits = np.stack([_hits(grams, image, n_images) for grams in texts.grams(LONGEST)], axis=1)
    length = texts.lengths[:n_images]
    guesses = np.maximum(0, length[:, None] - np.arange(LONGEST))
    nearest = np.array(
        [
            min((abs(len(words) - count), len(words)) for words in each)[1]
            for each, count in zip(theirs, length.tolist(), strict=True)
        ]
    )
    alone = _bleu(hits, guesses, length, nearest)
    sums = [each.sum(0, keepdims=True) for each in (hits, guesses, length, nearest)]
    every = _bleu(*sums)[0].tolist()
    ratio = float((length.sum() + TINY) / (nearest.sum() + SMALL))
    by_image = {key: tuple(values) for key, values in zip(images, alone.tolist(), strict=True)}
    return Bleu(every[-1], tuple(every), by_image, ratio)


def _hits(grams: Grams, image: Integers, n_images: int) -> Integers:
    """For each image, its caption's sequences that are in a reference, each at most as often as there."""
    key = image[grams.text] * grams.total + grams.gram
    told = grams.text >= n_images
    there, place = np.unique(key[told], return_inverse=True)
    most = np.zeros(len(there), np.int64)
    np.maximum.at(most, place, grams.times[told])
    clipped = np.minimum(grams.times[~told], look_up(there, most, key[~told]))
    return np.bincount(grams.text[~told], clipped, n_images).astype(np.int64)


def _bleu(hits: Integers, guesses: Integers, length: Integers, nearest: Integers) -> Floats:
    """BLEU of 1 to N for each row."""
    products = np.cumprod((hits + TINY) / (guesses + SMALL), axis=1)
    ratio = (length + TINY) / (nearest + SMALL)
    brevity = np.exp(np.minimum(0, 1 - 1 / ratio))
    return np.asarray(products ** (1 / np.arange(1, LONGEST + 1)) * brevity[:, None])
