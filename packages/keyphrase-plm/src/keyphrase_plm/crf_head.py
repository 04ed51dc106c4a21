"""The CRF of a tagger: how labels follow one another (Lafferty et al. 2001; Wu et al. 2022, BERT+CRF)."""

import torch
from torch import Tensor, nn

from nonet.kernels.crf import log_partition, marginals, path_score, viterbi

# Shapes: B documents, W words, C labels.


class CrfHead(nn.Module):
    """Scores of labels that follow one another, over words alone: no special piece, no padding, has a label.

    They begin at 0, where the head says of each word what a classifier without it says.

    Args:
        labels: how many.
    """

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.transitions = nn.Parameter(torch.zeros(labels, labels))
        self.start = nn.Parameter(torch.zeros(labels))
        self.end = nn.Parameter(torch.zeros(labels))

    def loss(self, scores_BWC: Tensor, labels_BW: Tensor, mask_BW: Tensor) -> Tensor:
        """The negative log-likelihood of each document's labels, (B,) nats; 0 for one without words.

        Args:
            scores_BWC: of each label.
            labels_BW: int64, in 0..C-1 at words.
            mask_BW: bool, True at words, which come first.
        """
        parts = self.transitions, self.start, self.end
        whole = log_partition(scores_BWC, *parts, mask_BW)
        return whole - path_score(scores_BWC, labels_BW, *parts, mask_BW)

    def decode(self, scores_BWC: Tensor, mask_BW: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest labels together, (B, W) int64, and each label's log-probability, (B, W, C)."""
        parts = self.transitions, self.start, self.end
        labels, _ = viterbi(scores_BWC, *parts, mask_BW)
        shares = marginals(scores_BWC, *parts, mask_BW)
        return labels, shares.clamp_min(torch.finfo(shares.dtype).tiny).log()
