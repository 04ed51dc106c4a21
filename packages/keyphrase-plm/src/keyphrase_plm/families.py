"""What the four model families have in common, so that training and prediction are written once (ours).

A family turns documents into rows of token ids, rows into a batch, a batch into a loss, and a batch into
predictions. The rest (batches by length, checkpoints, devices, streaming, resuming) is the same for all.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from keyphrase_plm.documents import Document, Prediction

Row = dict[str, Any]
"""an encoded document: 1-d int32 arrays by name; `size`: pieces in and out, two ints, for batching;
`cut`: pieces or words beyond the longest input; `lost`: gold phrases that the cut took away"""


class Family(nn.Module, ABC):  # type: ignore[misc]
    """A model with its tokenizer and lengths.

    Attributes:
        name: tag, seq2seq, b2b or prefix-lm.
        model: the transformers model inside.
        tokenizer: of transformers, fast.
    """

    name: ClassVar[str]
    model: Any
    tokenizer: Any

    @abstractmethod
    def encode(self, document: Document, *, gold: bool = True) -> Row:
        """A document as a row of ids.

        Args:
            document: what to encode.
            gold: with the target, for training; without, for prediction.
        """

    def example(self, row: Row, random: np.random.Generator) -> Row:
        """What the model sees of a row in one epoch; most families see the row itself.

        Args:
            row: of `encode`.
            random: numbers that depend on seed, epoch and row alone.
        """
        return row

    @abstractmethod
    def collate(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Rows as a padded batch."""

    @abstractmethod
    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The loss of a batch.

        Returns:
            Its sum over target tokens (or words, or sequences for a CRF), with a gradient, and their number.
        """

    @abstractmethod
    def predict(self, documents: Sequence[Document], rows: Sequence[Row], options: Any) -> list[Prediction]:
        """Predictions of one batch, which do not depend on what else is in it.

        Args:
            documents: of the batch.
            rows: their rows, encoded without gold.
            options: `DecodeOptions`.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write a folder for `load` and transformers: config, safetensors, tokenizer, `keyphrase.json`."""

    @classmethod
    @abstractmethod
    def load(cls, folder: str | Path) -> "Family":
        """Read a folder that `save` has written.

        Raises:
            UserError: a file is missing or damaged; it is named.
        """
