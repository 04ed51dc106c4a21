"""Worked examples of caption metrics: four images each, numbers that can be checked by hand (ours)."""

import math

from nonet.metrics.bleu import caption_bleu
from nonet.metrics.caption_rouge import caption_rouge_l
from nonet.metrics.cider import cider, cider_d
from nonet.metrics.meteor import caption_meteor
from nonet.metrics.spice_tuples import spice_tuples
from vlp_atlas.oracles import Oracle

EXACT = 1e-12
CONSTANTS = 1e-8  # what BLEU's constant of 1e-9 in denominators changes

# Four images whose references share no word; three captions are right, the first says its reference twice.
REFERENCES = {
    "0": ["one big dog sleeps"],
    "1": ["two small cats play"],
    "2": ["three red kites rise"],
    "3": ["four old men sing"],
}
RIGHT = {image: texts[0] for image, texts in REFERENCES.items()}
TWICE = RIGHT | {"0": "one big dog sleeps one big dog sleeps"}
# Sequences of 1 to 4 words of the doubled caption: 2 each, and 1, 2 and 3 that cross the seam.
_CLIPPED = (4 / math.sqrt(16 * 4) + 3 / math.sqrt(13 * 3) + 2 / math.sqrt(10 * 2) + 1 / math.sqrt(7)) / 4

_GROUPS = [{"dog", "hound"}]

ORACLES: dict[str, Oracle] = {
    "cider-d-equal": Oracle(
        "4 captions equal to their only references, which have 4 words and share none: 10",
        lambda: cider_d(RIGHT, REFERENCES).score, 10.0, 0.0,
    ),
    "cider-d-twice": Oracle(
        "3 equal captions, and one that says its 4 words twice: clipped, and 4 words too long",
        lambda: cider_d(TWICE, REFERENCES).score, (30 + 10 * _CLIPPED * math.exp(-16 / 72)) / 4, EXACT,
    ),
    "cider-twice": Oracle(
        "3 equal captions, and one that says its 4 words twice: the cosines count both",
        lambda: cider(TWICE, REFERENCES).score, (30 + 10 * 2 * _CLIPPED) / 4, EXACT,
    ),
    "caption-bleu-4": Oracle(
        "4 captions of 5 words, one of them with another last word: 19/20, 15/16, 11/12, 7/8",
        lambda: caption_bleu(
            {"0": "a b c d x", "1": "f g h i j", "2": "k l m n o", "3": "p q r s t"},
            {"0": ["a b c d e"], "1": ["f g h i j"], "2": ["k l m n o"], "3": ["p q r s t"]},
        ).score,
        (19 / 20 * 15 / 16 * 11 / 12 * 7 / 8) ** 0.25, CONSTANTS,
    ),
    "caption-rouge-l": Oracle(
        "P 1 from one reference and R 1 from another (1), equal (1), nothing (0), P 1 and R 1/2 (.6289)",
        lambda: caption_rouge_l(
            {"0": "a b c d", "1": "x y", "2": "x y", "3": "a b"},
            {"0": ["a b", "a b c d e f g h"], "1": ["x y"], "2": ["a b"], "3": ["a b c d"]},
        ).score,
        (1 + 1 + 0 + 2.44 * 0.5 / (0.5 + 1.44)) / 4, EXACT,
    ),
    "caption-meteor": Oracle(
        "3 equal words (1 - .5/27), 2 equal stems (1 - .5/8), 2 words in reverse (1 - .5), a synonym (.5)",
        lambda: caption_meteor(
            {"0": "a dog runs", "1": "dogs run", "2": "blue sky", "3": "hound"},
            {"0": ["a dog runs"], "1": ["cats", "dog runs"], "2": ["sky blue"], "3": ["dog"]},
            synonyms=_GROUPS,
        ).score,
        (1 - 0.5 / 27 + 1 - 0.5 / 8 + 0.5 + 0.5) / 4, EXACT,
    ),
    "spice-tuples": Oracle(
        "P and R of 1 and 1, 1/2 and 1/2, 1/2 and 1/4, 0 and 0: F 1, 1/2, 1/3, 0",
        lambda: spice_tuples(
            {
                "0": [("dog",)],
                "1": [("dog",), ("dog", "brown")],
                "2": [("dog",), ("cat",)],
                "3": [("dog", "on", "grass")],
            },
            {
                "0": [[("hound",)]],
                "1": [[("dog",)], [("grass",)]],
                "2": [[("dog",), ("dog", "big")], [("man",), ("man", "old")]],
                "3": [[("grass", "on", "dog")]],
            },
            synonyms=_GROUPS,
        ).score,
        (1 + 1 / 2 + 1 / 3 + 0) / 4, EXACT,
    ),
}  # fmt: skip
