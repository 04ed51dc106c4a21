"""METEOR without Java: words that are equal, have equal stems, or are synonyms by a list of the user.

Source: Banerjee and Lavie 2005, "METEOR: an automatic metric for MT evaluation with improved correlation
with human judgments": F = P R / (.9 P + .1 R), times 1 - .5 (chunks / matches)³. This is not METEOR 1.5,
which tunes its parameters, weighs function words and stages, and knows paraphrases: numbers of the two
cannot be compared.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from math import fsum
from typing import NamedTuple

from nonet.metrics.caption_tokens import gather

ALPHA, BETA, GAMMA = 0.9, 3, 0.5
BEAM = 64  # partial alignments that are kept
STAGES = 3  # equal words, equal stems, synonyms

States = dict[tuple[int, int], tuple[int, ...]]


class Meteor(NamedTuple):
    """METEOR, 0..1.

    Attributes:
        score: mean over images.
        by_image: of each image, the best of its references.
    """

    score: float
    by_image: dict[str, float]


class Matches(NamedTuple):
    """How two texts were aligned.

    Attributes:
        stages: matches by equal words, by equal stems, by synonyms.
        chunks: runs of matched words that follow each other in both texts.
    """

    stages: tuple[int, ...]
    chunks: int


def caption_meteor(
    captions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    synonyms: Iterable[Collection[str]] = (),
    tokenised: bool = False,
) -> Meteor:
    """METEOR of captions; `a dog runs` for `a dog runs` has one chunk of three and 1 - .5 / 27.

    Args:
        captions: image -> caption.
        references: image -> captions of people.
        synonyms: groups of words that may stand for each other; a word may be in several.
        tokenised: the texts are tokens with blanks between them already.

    Returns:
        The mean and each image's value; 0 for a caption without matches.

    Raises:
        UserError: a caption is missing or no text, or an image has no references.
    """
    images, ours, theirs = gather(captions, references, tokenised=tokenised)
    groups: dict[str, set[int]] = {}
    for number, group in enumerate(synonyms):
        for word in group:
            groups.setdefault(word.lower(), set()).add(number)
    values = [
        max(_score(words, reference, groups) for reference in people)
        for words, people in zip(ours, theirs, strict=True)
    ]
    return Meteor(fsum(values) / len(values), dict(zip(images, values, strict=True)))


def aligned(
    caption: Sequence[str], reference: Sequence[str], groups: Mapping[str, Collection[int]] | None = None
) -> Matches:
    """The alignment with most equal words, then most equal stems, then most synonyms, then fewest chunks.

    Found from left to right among the 64 best partial ones: without loss for texts of captions' length whose
    words seldom repeat.

    Args:
        caption: words.
        reference: words.
        groups: word -> numbers of the groups of synonyms that have it.
    """
    groups = groups or {}
    # used places of the reference, place of the last word or -2 if it is free -> (stages, -chunks)
    states: States = {(0, -2): (0,) * (STAGES + 1)}
    for word in caption:
        options = [
            (place, stage)
            for place, other in enumerate(reference)
            if (stage := _stage(word, other, groups)) is not None
        ]
        following: States = {}
        for (used, last), value in states.items():
            _keep(following, (used, -2), value)
            for place, stage in options:
                if not used >> place & 1:
                    gained = list(value)
                    gained[stage] += 1
                    gained[STAGES] -= place != last + 1
                    _keep(following, (used | 1 << place, place), tuple(gained))
        best = sorted(following.items(), key=lambda item: item[1], reverse=True)
        states = dict(best[:BEAM])
    *stages, chunks = max(states.values())
    return Matches(tuple(stages), -chunks)


def _keep(states: States, key: tuple[int, int], value: tuple[int, ...]) -> None:
    if value > states.get(key, (-1,)):
        states[key] = value


def _stage(word: str, other: str, groups: Mapping[str, Collection[int]]) -> int | None:
    """By what two words match: 0 equal, 1 equal stems, 2 synonyms."""
    if word == other:
        return 0
    if _stem(word) == _stem(other):
        return 1
    if word in groups and not set(groups[word]).isdisjoint(groups.get(other, ())):
        return 2
    return None


def _score(caption: Sequence[str], reference: Sequence[str], groups: Mapping[str, Collection[int]]) -> float:
    found = aligned(caption, reference, groups)
    matches = sum(found.stages)
    if not matches:
        return 0.0
    precision, recall = matches / len(caption), matches / len(reference)
    mean = precision * recall / (ALPHA * precision + (1 - ALPHA) * recall)
    return mean * (1 - GAMMA * (found.chunks / matches) ** BETA)


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    from nonet.metrics.porter import stem  # compiled with numba, which nothing else here needs

    return stem(word)
