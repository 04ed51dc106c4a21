"""The two pre-training losses (Zhang et al. 2020, section 3): gap sentences and masked words.

Neither ever holds the logits of a whole batch: with a vocabulary of 96,103 and 8,192 target tokens they
would take 3 GB. Losses are sums with their token counts, so that several devices can divide by the count of
all of them.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nonet.kernels.linear_cross_entropy import linear_cross_entropy
from pegasus.model import Summarizer

# Shapes: B documents, L input tokens, T target tokens, V vocabulary, D width.


class Term(NamedTuple):
    """One loss: summed over its tokens, and how many they are."""

    total: Tensor
    """scalar float32, in nats"""
    count: Tensor
    """scalar int64"""
    weight: float


class GapSentenceLoss(nn.Module):
    """Cross-entropy of the cut sentences, and of masked words if there are any.

    Args:
        label_smoothing: e; the target distribution is (1 - e) one-hot + e/V over the whole vocabulary. 0 in
            pre-training, 0.1 in fine-tuning.
        word_weight: weight of the masked words' loss. The paper adds the two; the released code never
            published the masked-word model.
    """

    def __init__(self, *, label_smoothing: float = 0.0, word_weight: float = 1.0) -> None:
        super().__init__()
        self.label_smoothing, self.word_weight = label_smoothing, word_weight

    def forward(self, model: Summarizer, batch: dict[str, Tensor]) -> dict[str, Term]:
        """The loss terms of a batch.

        Args:
            model: PEGASUS or PEGASUS-X.
            batch: `input_ids` (B, L), `attention_mask` (B, L), `labels` (B, T) with -100 at padding,
                optionally `word_labels` (B, L) with -100 where no word is masked; all int64.

        Returns:
            "gsg" (unless every label is padding by construction, T = 0) and, with `word_labels`, "mlm".
        """
        labels, weight = batch["labels"], model.lm_head.weight
        encoded = model.model.encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0]
        decoded = model.model.decoder(
            input_ids=shift_right(labels),
            encoder_hidden_states=encoded,
            encoder_attention_mask=batch["attention_mask"],
            use_cache=False,
        )[0]
        terms = {"gsg": self._term(decoded, weight, labels, 1.0)}
        if "word_labels" in batch:
            terms["mlm"] = self._term(encoded, weight, batch["word_labels"], self.word_weight)
        return terms

    def _term(self, hidden: Tensor, weight: Tensor, labels: Tensor, factor: float) -> Term:
        smoothing = self.label_smoothing if self.training else 0.0
        total = linear_cross_entropy(
            hidden.flatten(0, 1), weight, labels.flatten(), label_smoothing=smoothing, reduction="sum"
        )
        return Term(total, (labels != -100).sum(), factor)


class Objective(nn.Module):
    """A model and its losses as one module, from a batch to loss terms; what several devices share out.

    Args:
        model: PEGASUS or PEGASUS-X.
        losses: the loss terms.
    """

    def __init__(self, model: Summarizer, losses: GapSentenceLoss) -> None:
        super().__init__()
        self.model, self.losses = model, losses

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Term]:
        """The loss terms of a batch, see `GapSentenceLoss`."""
        terms: dict[str, Term] = self.losses(self.model, batch)
        return terms


def shift_right(labels: Tensor) -> Tensor:
    """The decoder's input (B, T): the pad id, whose embedding is zero, then all labels but the last."""
    inputs = torch.zeros_like(labels)
    inputs[:, 1:] = labels[:, :-1].clamp(min=0)
    return inputs
