"""Scenes of three handwritten digits on a grid, their captions, and a small single-stream encoder of both.

A scene has three digits in three of 16 cells; its caption names each digit and its cell. A region is the
8 x 8 pixels of a digit and its place, as a detector would give them. Pixels are scikit-learn's `load_digits`;
those of test scenes are in no training scene. A softmax classifier, fitted on the training digits, plays the
detector for the classes of regions; its class 0, the background, has no probability. Words and regions go
through one transformer, as in UNITER (Chen et al. 2020), on a small scale. Source: ours.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, nn

# Shapes: B scenes, 3 regions, L tokens, D width, 64 pixels.

CELLS, DIGITS, REGIONS, PIXELS, SIDE = 16, 10, 3, 64, 4
CLS, MASK, AT, WHICH, FIRST_DIGIT = 0, 1, 2, 3, 4
FIRST_CELL = FIRST_DIGIT + DIGITS
VOCABULARY = FIRST_CELL + CELLS
CAPTION = 1 + 3 * REGIONS
"""tokens of a caption: [CLS], and digit, "at", cell of each region"""


class Scenes(NamedTuple):
    """Scenes by number.

    Attributes:
        images: (B, 3) int64, places in `World.pixels`.
        cells: (B, 3) int64, all different in a row.
    """

    images: Tensor
    cells: Tensor


class World:
    """Digits of one part of the data, and the scenes that can be drawn from them."""

    def __init__(self, pixels: Tensor, labels: Tensor, classes: Tensor) -> None:
        """Keep the digits.

        Args:
            pixels: (N, 64) float in 0..1.
            labels: (N,) int64 in 0..9.
            classes: (N, 11) float: the classifier's probabilities, class 0 for the background.
        """
        self.pixels, self.labels, self.classes = pixels, labels, classes

    def draw(self, count: int, generator: Generator, *, cells: Tensor | None = None) -> Scenes:
        """Scenes with any digits, in any cells or in those that are given."""
        images = torch.randint(len(self.pixels), (count, REGIONS), generator=generator)
        if cells is None:
            cells = torch.rand(count, CELLS, generator=generator).argsort(1)[:, :REGIONS]
        return Scenes(images, cells)

    def others(self, scenes: Scenes, generator: Generator) -> Scenes:
        """Scenes that show something else than the given ones: a quarter are in the same cells."""
        count = len(scenes.cells)
        stay = torch.rand(count, 1, generator=generator) < 0.25
        cells = torch.where(stay, scenes.cells, self.draw(count, generator).cells)
        drawn = self.draw(count, generator, cells=cells)
        while bool((same := self._same(drawn, scenes)).any()):
            drawn = Scenes(
                torch.where(same[:, None], self.draw(count, generator).images, drawn.images), cells
            )
        return drawn

    def _same(self, first: Scenes, second: Scenes) -> Tensor:
        """(B,) bool: the same digits in the same cells, in whatever order."""
        return (self._grid(first) == self._grid(second)).all(1)

    def _grid(self, scenes: Scenes) -> Tensor:
        """(B, 16): the digit in each cell, -1 for none."""
        empty = torch.full((len(scenes.cells), CELLS), -1)
        return empty.scatter(1, scenes.cells, self.labels[scenes.images])

    def group(self, count: int, generator: Generator, *, layouts: int = 4) -> Scenes:
        """Candidates of a retrieval: scenes in few sets of cells, no two with the same digits in order.

        Cells alone tell a scene from those of other sets, digits from all.
        """
        cells = self.draw(layouts, generator).cells[torch.arange(count) % layouts]
        triples = torch.randperm(DIGITS**REGIONS, generator=generator)[:count]
        digits = torch.stack([triples // DIGITS**place % DIGITS for place in range(REGIONS)], 1)
        draws = torch.rand(count, REGIONS, len(self.labels), generator=generator)
        images = draws.masked_fill(self.labels != digits[..., None], -1).argmax(-1)
        return Scenes(images, cells)

    def captions(self, scenes: Scenes) -> Tensor:
        """(B, 10) token ids: [CLS], then digit, "at" and cell of each region."""
        words = torch.full((len(scenes.cells), REGIONS, 3), AT)
        words[..., 0] = FIRST_DIGIT + self.labels[scenes.images]
        words[..., 2] = FIRST_CELL + scenes.cells
        return torch.cat([torch.full((len(words), 1), CLS), words.flatten(1)], 1)

    def questions(self, scenes: Scenes) -> tuple[Tensor, Tensor]:
        """(B, 4) token ids that ask for the digit in the first region's cell, and (B,) the digits."""
        start = torch.tensor([CLS, WHICH, AT]).expand(len(scenes.cells), 3)
        ids = torch.cat([start, FIRST_CELL + scenes.cells[:, :1]], 1)
        return ids, self.labels[scenes.images[:, 0]]


@cache
def worlds(seed: int, *, test_share: float = 1 / 3) -> tuple[World, World]:
    """Training and test world, with disjoint digits; the split and the classifier follow from the seed."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    cut = int(len(order) * test_share)
    pixels = (digits.data / 16).astype(np.float32)
    train, test = order[cut:], order[:cut]
    # A weak fit: a detector that is sure of everything would make both kinds of class targets the same.
    detector = LogisticRegression(C=0.05, max_iter=200).fit(pixels[train], digits.target[train])
    found = []
    for part in (train, test):
        classes = np.pad(detector.predict_proba(pixels[part]), ((0, 0), (1, 0))).astype(np.float32)
        labels = torch.from_numpy(digits.target[part].astype(np.int64))
        found.append(World(torch.from_numpy(pixels[part]), labels, torch.from_numpy(classes)))
    return found[0], found[1]


class Encoder(nn.Module):
    """Two layers over words and regions, and a head for each objective and for answers."""

    def __init__(self, width: int = 64, heads: int = 4, layers: int = 2) -> None:
        """Draw the weights from torch's global generator."""
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, width)
        self.places = nn.Parameter(torch.randn(CAPTION, width) * 0.5)
        self.looks = nn.Linear(PIXELS, width)
        self.spots = nn.Linear(2 * SIDE, width)
        self.norm_words, self.norm_regions = nn.LayerNorm(width), nn.LayerNorm(width)
        nn.init.normal_(self.words.weight, std=0.5)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.to_word = nn.Linear(width, VOCABULARY)
        self.to_pixels = nn.Linear(width, PIXELS)
        self.to_class = nn.Linear(width, DIGITS + 1)
        self.to_match = nn.Linear(width, 2)
        self.to_answer = nn.Linear(width, DIGITS)

    def forward(self, ids: Tensor, pixels: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Contextual words (B, L, D), of which the first is [CLS], and regions (B, 3, D).

        Args:
            ids: (B, L) int64.
            pixels: (B, 3, 64) float.
            cells: (B, 3) int64: row and column are told as two one-hot vectors.
        """
        one_hot = torch.eye(SIDE)
        spots = torch.cat([one_hot[cells // SIDE], one_hot[cells % SIDE]], -1)
        words = self.norm_words(self.words(ids) + self.places[: ids.shape[1]])
        regions = self.norm_regions(self.looks(pixels) + self.spots(spots))
        both = self.layers(torch.cat([words, regions], 1))
        return both[:, : ids.shape[1]], both[:, ids.shape[1] :]
