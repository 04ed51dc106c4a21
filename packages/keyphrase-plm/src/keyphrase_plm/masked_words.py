"""Masked language modelling (Devlin et al. 2019, section 3.1): 15 % of the tokens, of these 80 % masked,
10 % random and 10 % left as they are; the masks are drawn anew in every epoch.

The output layer is applied to the masked positions alone, chunk by chunk, so that no logits of a whole batch
are ever held.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from keyphrase_plm.padding import pad
from nonet.errors import UserError
from nonet.kernels.linear_cross_entropy import linear_cross_entropy

IGNORED = -100

# Shapes: B rows, L tokens, D width, n masked tokens.


def mask_words(
    ids: np.ndarray,
    random: np.random.Generator,
    *,
    mask: int,
    vocabulary: int,
    share: float = 0.15,
    fixed: Sequence[int] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """A row with masks, and what stood there.

    Args:
        ids: (n,) integers, with special tokens.
        random: numbers of this row in this epoch.
        mask: id of the mask.
        vocabulary: random tokens are below this id.
        share: of the tokens that are chosen: max(1, round(share * those that may be)).
        fixed: ids that are never chosen, such as [CLS] and [SEP].

    Returns:
        Two int32 (n,): the input, and the labels, -100 where nothing was chosen.
    """
    ids = np.asarray(ids, np.int32)
    labels = np.full(len(ids), IGNORED, np.int32)
    free = np.flatnonzero(~np.isin(ids, np.asarray(fixed, np.int32)))
    if len(free) == 0:
        return ids, labels
    chosen = random.permutation(free)[: max(1, round(share * len(free)))]
    labels[chosen] = ids[chosen]
    inputs, lot = ids.copy(), random.random(len(chosen))
    inputs[chosen[lot < 0.8]] = mask
    drawn = chosen[(lot >= 0.8) & (lot < 0.9)]
    inputs[drawn] = random.integers(0, vocabulary, len(drawn))
    return inputs, labels


class MaskedWords(nn.Module):  # type: ignore[misc]
    """The objective as training wants it: rows of ids to masked examples, to batches, to a loss.

    Args:
        model: `BertForMaskedLM`, `RobertaForMaskedLM` or another masked language model of transformers.
        tokenizer: its tokenizer.
        share: of the tokens that are chosen.
    """

    def __init__(self, model: Any, tokenizer: Any, *, share: float = 0.15) -> None:
        super().__init__()
        if tokenizer.mask_token_id is None:
            raise UserError("the tokenizer has no mask token, so this model cannot learn masked words")
        self.model, self.tokenizer, self.share = model, tokenizer, share
        self.pad = int(tokenizer.pad_token_id)
        self._head = _transform_and_decoder(model)

    def example(self, row: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
        """`input` and `labels` of a row's `ids`."""
        inputs, labels = mask_words(
            row["ids"], random, mask=self.tokenizer.mask_token_id, vocabulary=len(self.tokenizer),
            share=self.share, fixed=self.tokenizer.all_special_ids,
        )  # fmt: skip
        return {"input": inputs, "labels": labels}

    def collate(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask`, `labels` (B, L), int64."""
        return {
            "input_ids": pad([row["input"] for row in rows], self.pad),
            "attention_mask": pad([np.ones(len(row["input"]), np.int64) for row in rows], 0),
            "labels": pad([row["labels"] for row in rows], IGNORED),
        }

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum of the masked tokens' losses in nats, and their number."""
        labels = batch["labels"]
        wanted = labels != IGNORED
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        count = wanted.sum()
        if self._head is None:
            logits = self.model(**inputs).logits[wanted]
            return nn.functional.cross_entropy(logits.float(), labels[wanted], reduction="sum"), count
        body = getattr(self.model, self.model.base_model_prefix)
        states_nD = self._transformed(body(**inputs).last_hidden_state[wanted])
        decoder = self.model.get_output_embeddings()
        total = linear_cross_entropy(
            states_nD, decoder.weight, labels[wanted], bias=decoder.bias, reduction="sum"
        )
        return total, count

    def _transformed(self, states_nD: Tensor) -> Tensor:
        """The layers of the head before its output layer."""
        if self._head == "bert":
            return self.model.cls.predictions.transform(states_nD)
        head = self.model.lm_head
        return head.layer_norm(nn.functional.gelu(head.dense(states_nD)))


@torch.no_grad()
def _transform_and_decoder(model: Any) -> str | None:
    """How the head of a model is built; None for one that is unknown, whose logits are made everywhere."""
    if hasattr(getattr(getattr(model, "cls", None), "predictions", None), "transform"):
        return "bert"
    head = getattr(model, "lm_head", None)
    if all(hasattr(head, name) for name in ("dense", "layer_norm", "decoder")):
        return "roberta"
    return None
