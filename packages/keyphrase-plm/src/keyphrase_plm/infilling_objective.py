"""Text infilling as an objective: a BART learns to write the whole text from the one with masks (ours)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from keyphrase_plm.padding import pad
from keyphrase_plm.text_infilling import infill
from nonet.errors import UserError
from nonet.kernels.linear_cross_entropy import linear_cross_entropy

IGNORED = -100


class TextInfilling(nn.Module):  # type: ignore[misc]
    """The objective as training wants it: rows of ids to masked examples, to batches, to a loss.

    Args:
        model: `BartForConditionalGeneration`.
        tokenizer: its tokenizer.
        starts_word: (V,) bool, which pieces begin a word, as `vocabulary.starts_word` gives.
        share: of the tokens taken away.
        mean: tokens a span.
        replace: probability of a random token in place of a mask.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        starts_word: np.ndarray,
        share: float = 0.3,
        mean: float = 3.5,
        replace: float = 0.0,
    ) -> None:
        super().__init__()
        if tokenizer.mask_token_id is None:
            raise UserError("the tokenizer has no mask token, so this model cannot learn to fill in text")
        self.model, self.tokenizer, self.starts_word = model, tokenizer, starts_word
        self.share, self.mean, self.replace = share, mean, replace
        self.pad, self.start = int(model.config.pad_token_id), int(model.config.decoder_start_token_id)

    def example(self, row: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
        """`input`, with masks, and `target`, the text; both between the tokenizer's first and last token."""
        ids = row["ids"]
        inner = infill(
            ids[1:-1], self.starts_word[ids[1:-1]], random, mask=self.tokenizer.mask_token_id,
            share=self.share, mean=self.mean, replace=self.replace, vocabulary=len(self.tokenizer),
        )  # fmt: skip
        return {"input": np.concatenate([ids[:1], inner, ids[-1:]]), "target": ids}

    def collate(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` (B, L), `labels` (B, T), int64."""
        return {
            "input_ids": pad([row["input"] for row in rows], self.pad),
            "attention_mask": pad([np.ones(len(row["input"]), np.int64) for row in rows], 0),
            "labels": pad([row["target"] for row in rows], IGNORED),
        }

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum of the text's token losses in nats, and their number."""
        labels = batch["labels"]
        before = labels.roll(1, 1)
        before[:, 0] = self.start
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        states = self.model.model(
            **inputs, decoder_input_ids=before.masked_fill(before == IGNORED, self.pad), use_cache=False
        ).last_hidden_state
        total = linear_cross_entropy(
            states, self.model.lm_head.weight, labels, bias=self.model.final_logits_bias[0], reduction="sum"
        )
        return total, (labels != IGNORED).sum()
