"""From written pieces to phrases with scores, and targets cut where a phrase ends (ours)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keyphrase_plm.sequences import decoded


class PhraseReader:
    """Finds phrases in pieces of a tokenizer.

    Args:
        tokenizer: of transformers, fast.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        pieces = [piece or "" for piece in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))]
        self.separators = np.array(
            [1 if piece == "<0x3B>" else piece.count(";") for piece in pieces], np.int32
        )
        """(V,) semicolons of each piece"""
        self._pure = np.array(
            [piece == "<0x3B>" or (";" in piece and not piece.strip("Ġ▁#;")) for piece in pieces], bool
        )
        names = ("pad", "bos", "eos", "cls", "sep", "mask", "unk")
        ids = (getattr(tokenizer, f"{name}_token_id", None) for name in names)
        self.special = frozenset(int(id) for id in ids if id is not None)

    def read(self, tokens: Sequence[int], log_probs: Sequence[float]) -> dict[str, float]:
        """Phrases in the order written, each with the mean log-probability of its pieces.

        Args:
            tokens: ids, special ones among them, which are left out.
            log_probs: of each.

        Returns:
            No phrase is empty; of one written twice the better score counts.
        """
        found: dict[str, float] = {}
        for phrase, score in self.written(tokens, log_probs):
            found[phrase] = max(score, found.get(phrase, score))
        return found

    def written(self, tokens: Sequence[int], log_probs: Sequence[float]) -> list[tuple[str, float]]:
        """As `read`, but one written twice is there twice, so that the last one is what was written last."""
        known = len(self.separators)  # models may have rows of embeddings that no piece stands for
        kept = [place for place, id in enumerate(tokens) if id < known and id not in self.special]
        if not kept:
            return []
        ids = np.array([tokens[place] for place in kept])
        parts = self.tokenizer.decode(ids.tolist(), clean_up_tokenization_spaces=False).split(";")
        before = np.cumsum(self.separators[ids]) - self.separators[ids]
        counted = ~self._pure[ids]
        values = np.array([log_probs[place] for place in kept], np.float64)
        width = max(len(parts), int(before.max()) + 1)
        sums = np.bincount(before[counted], values[counted], minlength=width)
        sizes = np.bincount(before[counted], minlength=width)
        found: list[tuple[str, float]] = []
        for place, part in enumerate(parts):
            if phrase := decoded(part):
                mean = sums[place] / sizes[place] if sizes[place] else values.mean()
                found.append((phrase, float(mean)))
        return found

    def fit(self, ids: list[int], limit: int) -> tuple[list[int], int]:
        """A target's first phrases that fit.

        Args:
            ids: of the target, without special ones.
            limit: most pieces.

        Returns:
            The ids up to the last separator that fits (a first phrase that is too long is cut), and how many
            phrases are lost or cut.
        """
        if len(ids) <= limit:
            return ids, 0
        counts = self.separators[np.array(ids)]
        places = np.flatnonzero(counts[: limit + 1])
        end = int(places[-1]) if len(places) and places[-1] > 0 else limit
        return ids[:end], int(counts[end:].sum()) + (0 if counts[end] else 1)
