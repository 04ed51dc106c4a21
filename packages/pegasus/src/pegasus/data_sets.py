"""The twelve data sets that PEGASUS was fine-tuned on: field names, splits and settings (Zhang et al. 2020,
section 6).

Field names are those of TensorFlow Datasets, which the copies on the Hugging Face hub share. Settings come
twice: those of the paper, for batches of 256 on the models of the paper, and those of the released code, for
batches of 8 on one GPU. The paper's learning rates and steps stand here as they are commonly handed on; of
them only the steps for AESLC could be checked against a public statement of the authors.
"""

import difflib
from dataclasses import dataclass, field
from typing import Literal

from nonet.errors import UserError

RougeL = Literal["rougeL", "rougeLsum"]


@dataclass(frozen=True)
class Recipe:
    """How a model is fine-tuned on a data set."""

    max_input: int
    """tokens of the document"""
    max_target: int
    """tokens of the summary"""
    lr: float
    """peak learning rate"""
    steps: int
    batch: int
    """pairs a step"""


@dataclass(frozen=True)
class Part:
    """A run of records of a published split, its ends in per cent of that split."""

    of: str
    """the published split"""
    start: int = 0
    stop: int = 100

    def rows(self, count: int) -> range:
        """The records out of `count`: the ends are rounded to the nearest record.

        `Part("train", 0, 90).rows(18949)` is `range(0, 17054)`.
        """
        return range(round(count * self.start / 100), round(count * self.stop / 100))


@dataclass(frozen=True)
class DataSet:
    """One data set."""

    name: str
    document: str
    """field with the document"""
    summary: str
    """field with the summary"""
    paper: Recipe
    code: Recipe
    alpha: float
    """length normalisation of the beam search"""
    rouge_l: RougeL = "rougeL"
    """which of the two is called ROUGE-L in the paper's table"""
    parts: dict[str, Part] = field(default_factory=dict)
    """train, validation and test where the data set itself does not have all of them"""

    def part(self, name: str) -> Part:
        """Which records the original takes as `train`, `validation` or `test`.

        Raises:
            UserError: another name.
        """
        names = ("train", "validation", "test")
        if name not in names:
            raise UserError(f"no split {name!r}; there are {', '.join(names)}")
        return self.parts.get(name, Part(name))


_TABLE = (
    # name, document, summary, alpha, paper: (input, target, lr, steps), code: (the same, batch)
    ("xsum", "document", "summary", 0.8, (512, 64, 1e-4, 80_000), (1024, 64, 1e-4, 30_000, 8)),
    (
        "cnn_dailymail",
        "article",
        "highlights",
        0.8,
        (1024, 128, 5e-5, 170_000),
        (1024, 128, 1e-3, 210_000, 8),
    ),
    ("newsroom", "text", "summary", 0.8, (512, 128, 4e-4, 104_000), (1024, 128, 1e-3, 190_000, 8)),
    ("multi_news", "document", "summary", 0.8, (1024, 256, 5e-5, 80_000), (1024, 256, 1e-4, 60_000, 8)),
    ("gigaword", "document", "summary", 0.6, (128, 32, 8e-4, 90_000), (128, 32, 1e-4, 300_000, 16)),
    ("wikihow", "text", "headline", 0.6, (512, 256, 8e-4, 50_000), (1024, 256, 1e-4, 180_000, 8)),
    ("reddit_tifu", "documents", "tldr", 0.6, (512, 128, 1e-4, 12_000), (1024, 128, 1e-4, 8_000, 8)),
    ("big_patent", "description", "abstract", 0.7, (1024, 256, 5e-3, 300_000), (1024, 256, 1e-4, 50_000, 8)),
    ("arxiv", "article", "abstract", 0.8, (1024, 256, 8e-4, 74_000), (1024, 256, 1e-4, 500_000, 8)),
    ("pubmed", "article", "abstract", 0.8, (1024, 256, 2e-4, 100_000), (1024, 256, 1e-4, 500_000, 8)),
    ("aeslc", "email_body", "subject_line", 0.6, (512, 32, 8e-4, 16_000), (512, 32, 1e-4, 32_000, 8)),
    ("billsum", "text", "summary", 0.6, (1024, 256, 2e-4, 100_000), (1024, 256, 1e-4, 180_000, 8)),
)
_ROUGE_L: dict[str, RougeL] = {"cnn_dailymail": "rougeLsum"}
_PARTS = {
    "reddit_tifu": {
        "train": Part("train", 0, 80),
        "validation": Part("train", 80, 90),
        "test": Part("train", 90),
    },
    "billsum": {"train": Part("train", 0, 90), "validation": Part("train", 90)},
}

DATA_SETS: dict[str, DataSet] = {
    name: DataSet(
        name, document, summary, Recipe(*paper, 256), Recipe(*code), alpha, _ROUGE_L.get(name, "rougeL"),
        _PARTS.get(name, {}),
    )
    for name, document, summary, alpha, paper, code in _TABLE
}  # fmt: skip
"""The data sets by name, in the order of the paper's table."""


def data_set(name: str) -> DataSet:
    """A data set by its name.

    Raises:
        UserError: there is no such data set; the text has the nearest name.
    """
    if name in DATA_SETS:
        return DATA_SETS[name]
    close = difflib.get_close_matches(name, DATA_SETS, n=1)
    meant = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(DATA_SETS)}"
    raise UserError(f"no data set {name!r}; {meant}")
