"""CIDEr and CIDEr-D: how alike captions are to those of people, where rare word sequences weigh more.

Source: Vedantam et al. 2015, "CIDEr: consensus-based image description evaluation", in the readings of its
code (vrama91/cider) and of coco-caption and pycocoevalcap 1.2, whose "CIDEr" is CIDEr-D. For n = 1 to 4
each text is a vector of count x idf over its sequences of n words; idf = log N - log max(1, df), where df
counts images with the sequence in any reference, not captions. Values are 0 to 10; papers print them times
100.

What the code does and the formula does not say: lengths are counted in pairs of words, so that texts of one
and of no words are equally long; a text too short for n words gives 0 for that n, and still counts in the
mean over n, so that three equal words score 7.5 and not 10.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from nonet.metrics.caption_ngrams import Grams, Integers, Texts, look_up
from nonet.metrics.caption_tokens import gather, tokens

LONGEST = 4  # words in a sequence
SIGMA = 6.0  # of the penalty for another length, in words
SCALE = 10.0

Floats = NDArray[np.float64]


class DocumentFrequencies(NamedTuple):
    """In how many images of a collection a word sequence stands.

    Attributes:
        images: how many images the collection has.
        counts: (word, ...) -> images that have the sequence in one of their captions.
    """

    images: int
    counts: Mapping[tuple[str, ...], int]


class Cider(NamedTuple):
    """CIDEr, 0..10; papers print it times 100.

    Attributes:
        score: mean over images.
        by_image: of each image.
        short: images whose caption has fewer than four words, so that it cannot score 10.
    """

    score: float
    by_image: dict[str, float]
    short: int


def cider_d(
    captions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    frequencies: DocumentFrequencies | None = None,
    tokenised: bool = False,
) -> Cider:
    """CIDEr-D: 10 mean_n mean_r exp(-(l_c - l_r)² / 72) Σ_g min(c_g, r_g) r_g / (|c| |r|).

    A caption equal to its only reference scores exactly 10, if it has four words and shares none of its
    sequences with all other images.

    Args:
        captions: image -> caption.
        references: image -> captions of people.
        frequencies: where df comes from; None for the references themselves, which needs two images or more.
        tokenised: the texts are tokens with blanks between them already.

    Returns:
        The mean and each image's value; 0 for a caption without words.

    Raises:
        UserError: there is one image and no `frequencies`, these count more images than there are, a caption
            is missing or no text, or an image has no references.
    """
    return _cider(captions, references, frequencies, tokenised, defended=True)


def cider(
    captions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    frequencies: DocumentFrequencies | None = None,
    tokenised: bool = False,
) -> Cider:
    """CIDEr without -D: the cosine of the two vectors alone, 10 mean_n mean_r c·r / (|c| |r|).

    A caption that says its reference twice over still scores near 10. The paper compares stems of words; its
    code, which this follows, compares words.

    Args:
        captions: image -> caption.
        references: image -> captions of people.
        frequencies: as for `cider_d`.
        tokenised: as for `cider_d`.

    Raises:
        UserError: as for `cider_d`.
    """
    return _cider(captions, references, frequencies, tokenised, defended=False)


def document_frequencies(
    references: Mapping[str, Sequence[str]], *, tokenised: bool = False
) -> DocumentFrequencies:
    """Counts of a collection of captions, with which single images or small sets can be scored.

    Args:
        references: image -> captions of people.
        tokenised: the texts are tokens with blanks between them already.
    """
    words = str.split if tokenised else tokens
    texts = Texts([words(text) for people in references.values() for text in people])
    image = np.repeat(np.arange(len(references)), [len(people) for people in references.values()])
    counts: dict[tuple[str, ...], int] = {}
    for n, grams in enumerate(texts.grams(LONGEST), 1):
        found = _images_with(grams, image, np.arange(len(image)) >= 0)
        for place, df in zip(grams.first.tolist(), found.tolist(), strict=True):
            counts[texts.sequence(place, n)] = df
    return DocumentFrequencies(len(references), counts)


def _cider(
    captions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    frequencies: DocumentFrequencies | None,
    tokenised: bool,
    *,
    defended: bool,
) -> Cider:
    images, ours, theirs = gather(captions, references, tokenised=tokenised)
    n_images = len(images) if frequencies is None else frequencies.images
    if frequencies is None and n_images < 2:
        raise UserError(
            "CIDEr of one image is not defined: every word sequence stands in all images and weighs nothing; "
            "score more images, or give document frequencies of a collection"
        )
    if frequencies is not None and max(frequencies.counts.values(), default=0) > n_images:
        raise UserError(f"document frequencies count a sequence in more than the {n_images} images they have")

    # Texts are numbered captions first; a reference's image is also the number of its caption.
    texts = Texts([*ours, *(words for people in theirs for words in people)])
    people = np.array([len(each) for each in theirs])
    image = np.concatenate([np.arange(len(images)), np.repeat(np.arange(len(images)), people)])
    reference = np.arange(len(image)) >= len(images)
    total = np.zeros(len(image))  # for each reference, over n
    for n, grams in enumerate(texts.grams(LONGEST), 1):
        if frequencies is None:
            df = _images_with(grams, image, reference)
        else:
            known = frequencies.counts
            places = grams.first.tolist()
            df = np.array([known.get(texts.sequence(place, n), 0) for place in places], np.int64)
        total += _cosines(grams, np.log(n_images) - np.log(np.maximum(1, df)), image, reference, defended)
    if defended:
        pairs = np.maximum(texts.lengths - 1, 0)
        total *= np.exp(-((pairs[image] - pairs) ** 2) / (2 * SIGMA**2))
    values = np.bincount(image[reference], total[reference] / LONGEST) / people * SCALE
    short = int((texts.lengths[: len(images)] < LONGEST).sum())
    return Cider(float(values.mean()), dict(zip(images, values.tolist(), strict=True)), short)


def _images_with(grams: Grams, image: Integers, reference: NDArray[np.bool_]) -> Integers:
    """For each sequence, in how many images a reference has it."""
    told = reference[grams.text]
    pairs = np.sort(image[grams.text[told]] * grams.total + grams.gram[told])
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    return np.bincount(pairs % grams.total, minlength=len(grams.first))


def _cosines(
    grams: Grams, idf: Floats, image: Integers, reference: NDArray[np.bool_], defended: bool
) -> Floats:
    """For each text its cosine with the caption of its image, 0 where one of the two weighs nothing.

    Sums run over sequences in the same order for both, and one root is taken of the product of squares: equal
    texts have exactly 1.
    """
    texts = len(image)
    weight = grams.times * idf[grams.gram]
    squares = np.bincount(grams.text, weight * weight, texts)
    told = reference[grams.text]
    text, gram, theirs = grams.text[told], grams.gram[told], weight[told]
    keys = grams.text[~told] * grams.total + grams.gram[~told]
    ours = look_up(keys, grams.times[~told], image[text] * grams.total + gram) * idf[gram]
    common = np.bincount(text, (np.minimum(ours, theirs) if defended else ours) * theirs, texts)
    norms = np.sqrt(squares * squares[image])
    np.divide(common, norms, out=(cosines := np.zeros(texts)), where=norms > 0)
    return cosines
