"""SPICE's F1 for given scene graphs: tuples of objects, attributes and relations.

Source: Anderson et al. 2016, "SPICE: semantic propositional image caption evaluation", without its parser:
tuples such as `("dog",)`, `("dog", "brown")` and `("dog", "on", "grass")` are given, of whatever parser.
Numbers of another parser, or of SPICE itself, cannot be compared with these.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import fsum
from typing import NamedTuple

from nonet.errors import UserError
from nonet.metrics.predictions import align

Tuple = tuple[str, ...]
Graph = Collection[Sequence[str]]


class SpiceTuples(NamedTuple):
    """F1 of tuples, 0..1.

    Attributes:
        score: mean over images.
        by_image: of each image.
        precision: mean over images.
        recall: mean over images.
    """

    score: float
    by_image: dict[str, float]
    precision: float
    recall: float


def spice_tuples(
    captions: Mapping[str, Graph],
    references: Mapping[str, Sequence[Graph]],
    *,
    synonyms: Iterable[Collection[str]] = (),
) -> SpiceTuples:
    """2 P R / (P + R) of a caption's tuples among those of all its references together.

    `{("dog",), ("dog", "brown")}` for the references `{("dog",)}` and `{("grass",)}` has P = R = 1/2.

    Args:
        captions: image -> tuples of one to three words of its caption; equal ones count once.
        references: image -> for each caption of people its tuples.
        synonyms: groups of words that may stand for each other; a word in several counts as in the first.

    Returns:
        The mean and each image's value; 0 where a caption or all references have no tuples.

    Raises:
        UserError: a caption is missing, an image has no references, or a tuple has not one to three words.
    """
    images = align(captions, references).ids
    first: dict[str, str] = {}
    for group in synonyms:
        words = sorted(word.lower() for word in group)
        for word in words:
            first.setdefault(word, words[0])
    found: list[tuple[float, float, float]] = []
    for image in images:
        if isinstance(references[image], str) or not references[image]:
            raise UserError(f"image {image} has no references; give the tuples of each of its captions")
        ours = _tuples(image, captions[image], first)
        theirs = set().union(*(_tuples(image, graph, first) for graph in references[image]))
        hits = len(ours & theirs)
        found.append(
            (hits / len(ours), hits / len(theirs), 2 * hits / (len(ours) + len(theirs)))
            if hits
            else (0.0, 0.0, 0.0)
        )
    precision, recall, score = (fsum(values) / len(images) for values in zip(*found, strict=True))
    by_image = {image: f1 for image, (_, _, f1) in zip(images, found, strict=True)}
    return SpiceTuples(score, by_image, precision, recall)


def _tuples(image: str, graph: Graph, first: Mapping[str, str]) -> set[Tuple]:
    told = set()
    for each in graph:
        if (
            isinstance(each, str)
            or not 1 <= len(each) <= 3
            or not all(isinstance(word, str) for word in each)
        ):
            raise UserError(
                f"image {image}: {each!r} is no tuple; give (object,), (object, attribute) or "
                "(object, relation, object)"
            )
        words = (" ".join(word.lower().split()) for word in each)
        told.add(tuple(first.get(word, word) for word in words))
    return told
