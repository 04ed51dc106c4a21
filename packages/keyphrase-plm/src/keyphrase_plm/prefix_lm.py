"""An encoder-only model as a language model behind a source, as Wu et al. 2022 fine-tune BERT for phrases.

UniLM (Dong et al. 2019), with the pseudo-masks of s2s-ft (Bao et al. 2020, 2021). Training lays three
segments side by side, source, target and pseudo-target: S | Y | Z. Z is a copy of Y in which most pieces are
`[MASK]`; it stands at the positions of Y, and the head predicts Y_i at Z_i. What sees what:

    S_i   all of S
    Y_i   all of S, Y_0 .. Y_i
    Z_i   all of S, Y_0 .. Y_(i-1), Z_i

so that Z_i knows what a step of decoding knows, and one pass trains all steps. Padding is seen by none.

The objective `causal` (ours) has no Z: the model reads `[CLS]` and Y without its last piece, and predicts Y.
It has half the rows behind the source, but is not what a masked language model was pre-trained to do.
"""

import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from keyphrase_plm.prefix_walk import Walk
from nonet.kernels.linear_cross_entropy import linear_cross_entropy

# Shapes: B documents, S source pieces, T target pieces, D width, V vocabulary, N rows of the head.

Objective = Literal["pseudo", "causal"]


def pseudo_targets(
    target: NDArray[np.int32],
    random: np.random.Generator,
    *,
    mask_id: int,
    vocabulary: int,
    keep: float = 0.1,
    replace: float = 0.1,
) -> NDArray[np.int32]:
    """Z for a Y: each piece for itself stays, becomes any id of the vocabulary, or becomes `[MASK]`.

    Args:
        target: (T,) ids of Y.
        random: numbers that depend on seed, epoch and document alone.
        mask_id: of `[MASK]`.
        vocabulary: V.
        keep: probability of staying.
        replace: probability of an id drawn from 0 .. V-1; `[MASK]` has the rest, 0.8.
    """
    draw = random.random(len(target))
    others = random.integers(0, vocabulary, len(target), dtype=np.int32)
    chosen = np.where(draw < keep + replace, others, np.int32(mask_id))
    return np.where(draw < keep, target, chosen).astype(np.int32)


def segment_mask(source_lengths: Tensor, target_lengths: Tensor, S: int, T: int) -> Tensor:
    """What sees what in S | Y | Z.

    Args:
        source_lengths: (B,) int64.
        target_lengths: (B,) int64.
        S: pieces of the padded source.
        T: pieces of the padded target.

    Returns:
        (B, S+2T, S+2T) bool, rows the pieces that look, columns those looked at.
    """
    source = torch.zeros(len(source_lengths), S, S + 2 * T, dtype=torch.bool, device=source_lengths.device)
    source[:, :, :S] = torch.arange(S, device=source.device) < source_lengths[:, None, None]
    return torch.cat([source, target_mask(source_lengths, target_lengths, S, T)], 1)


def target_mask(
    source_lengths: Tensor, target_lengths: Tensor, S: int, T: int, *, pseudo: bool = True
) -> Tensor:
    """The rows of Y and Z of `segment_mask`, (B, 2T, S+2T) bool; without Z (`pseudo`) (B, T, S+T)."""
    device = source_lengths.device
    source = torch.arange(S, device=device) < source_lengths[:, None]
    target = torch.arange(T, device=device) < target_lengths[:, None]
    own = own_mask(T, device, pseudo=pseudo) & target.repeat(1, 2 if pseudo else 1)[:, None]
    return torch.cat([source[:, None].expand(-1, own.shape[1], -1), own], 2)


def own_mask(T: int, device: torch.device | str = "cpu", *, pseudo: bool = True) -> Tensor:
    """What sees what in Y | Z without padding, (2T, 2T) bool; without Z (T, T)."""
    causal = torch.ones(T, T, dtype=torch.bool, device=device).tril()
    if not pseudo:
        return causal
    itself = torch.eye(T, dtype=torch.bool, device=device)
    return torch.cat(
        [torch.cat([causal, torch.zeros_like(causal)], 1), torch.cat([causal ^ itself, itself], 1)]
    )


def additive(allowed: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """A mask as transformers' attentions all understand it: 0 where allowed, else the least number.

    A bool mask of four dimensions is right for `sdpa`; `eager` adds it as 0 and 1 without an error, and then
    every piece sees every other.

    Args:
        allowed: (B, L, L) bool.
        dtype: of the model.

    Returns:
        (B, 1, L, L).
    """
    zero = torch.zeros((), dtype=dtype, device=allowed.device)
    return torch.where(allowed, zero, torch.finfo(dtype).min)[:, None]


def target_positions(source_lengths: Tensor, T: int) -> Tensor:
    """Positions of Y, and of Z: n, n+1, ... behind a source of n pieces; (B, T) int64."""
    return source_lengths[:, None] + torch.arange(T, device=source_lengths.device)


def target_features(
    walk: Walk, batch: dict[str, Tensor], objective: Objective = "pseudo", *, start_id: int = 0
) -> Tensor:
    """The head's input for every target piece, (B, T, D): hidden states of Z (`pseudo`) or of Y (`causal`).

    Args:
        walk: the model.
        batch: `source` (B, S), `source_lengths` (B,), `target` (B, T), `target_lengths` (B,) and, for
            `pseudo`, `pseudo` (B, T); all int64, padded with any ids.
        objective: which of the two.
        start_id: for `causal`, what stands in front of the target.
    """
    lengths, target = batch["source_lengths"], batch["target"]
    prefix, pseudo = walk.prefix(batch["source"], lengths), objective == "pseudo"
    S, T = batch["source"].shape[1], target.shape[1]
    allowed = target_mask(lengths, batch["target_lengths"], S, T, pseudo=pseudo)
    ids = torch.cat([target, batch["pseudo"]], 1) if pseudo else shifted(target, start_id)
    positions = target_positions(lengths, T).repeat(1, 2 if pseudo else 1)
    return walk.behind(prefix, walk.embed(ids, positions, walk.target_type), allowed)[:, -T:]


def shifted(target: Tensor, start_id: int) -> Tensor:
    """The start id and all pieces but the last, (B, T)."""
    return F.pad(target[:, :-1], (1, 0), value=start_id)


def smoothed_kl(
    features: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    bias: Tensor,
    pad_id: int,
    smoothing: float = 0.1,
) -> Tensor:
    """Divergence (Kullback-Leibler) of the model from a smoothed label, summed over rows, in nats.

    The label's distribution q has 1 - e at the label, 0 at the pad id, and e / (V - 2) at every other id. So

        KL(q, p) = sum q log q - sum q log p,    0 at best,

    of which the second sum is `linear_cross_entropy` with e V / (V - 2), corrected by
    e / (V - 2) (z_pad - z_label); the logits z of a whole batch never exist.

    Args:
        features: (N, D), what the output matrix is applied to.
        weight: (V, D).
        labels: (N,) int64; none is the pad id.
        bias: (V,).
        pad_id: gets no mass.
        smoothing: e in [0, 1).
    """
    V = weight.shape[0]
    share = smoothing / (V - 2)
    total = linear_cross_entropy(
        features, weight, labels, bias=bias, label_smoothing=share * V, reduction="sum"
    )
    if not smoothing:
        return total
    difference = F.embedding(labels, weight) - weight[pad_id]
    z_label_less_z_pad = (features.float() * difference.float()).sum() + (bias[labels] - bias[pad_id]).sum()
    return total - share * z_label_less_z_pad + len(labels) * label_information(V, smoothing)


def label_information(vocabulary: int, smoothing: float) -> float:
    """The sum of q log q of a smoothed label: 0 without smoothing; -1.356 at 0.1 and 30,522 ids."""
    if not smoothing:
        return 0.0
    return (1 - smoothing) * math.log(1 - smoothing) + smoothing * math.log(smoothing / (vocabulary - 2))


def prefix_loss(
    walk: Walk,
    batch: dict[str, Tensor],
    objective: Objective = "pseudo",
    *,
    pad_id: int,
    start_id: int = 0,
    smoothing: float = 0.1,
) -> tuple[Tensor, Tensor]:
    """The loss of a batch, see `smoothed_kl`, summed over target pieces; and their number.

    Args:
        walk: the model.
        batch: as in `target_features`.
        objective: as there.
        pad_id: of the tokenizer.
        start_id: as there.
        smoothing: of labels.
    """
    features = target_features(walk, batch, objective, start_id=start_id)
    T = features.shape[1]
    real = torch.arange(T, device=features.device) < batch["target_lengths"][:, None]
    output = walk.model.get_output_embeddings()
    total = smoothed_kl(
        walk.head(features[real]), output.weight, batch["target"][real],
        bias=output.bias, pad_id=pad_id, smoothing=smoothing,
    )  # fmt: skip
    return total, batch["target_lengths"].sum()
