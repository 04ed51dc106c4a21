"""How likely given targets are under a prefix language model: all pieces of all of them in one pass.

Ours; the decode-select method of Wu et al. 2023 asks for the likelihood of phrases under a one2one model.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from keyphrase_plm.padding import pad
from keyphrase_plm.prefix_lm import Objective, own_mask, shifted, target_positions
from keyphrase_plm.prefix_walk import Prefix, Walk

# Shapes: B documents, R rows behind them, T target pieces.

CELLS = 1 << 24
"""attention weights a head, from pieces of targets to pieces of sources, that are held at a time"""


@torch.inference_mode()
def mean_log_probs(
    walk: Walk,
    source: Tensor,
    lengths: Tensor,
    targets: Sequence[Sequence[np.ndarray]],
    objective: Objective = "pseudo",
    *,
    mask_id: int,
    start_id: int,
    filler: int,
) -> list[list[float]]:
    """The mean log-probability of the pieces of each target, in nats.

    A document is read once for all its targets.

    Args:
        walk: the model, in evaluation mode.
        source: (B, S) int64.
        lengths: (B,) int64, pieces of each source.
        targets: for each document any number of rows of ids, none empty.
        objective: the one that the model was trained with.
        mask_id: for `pseudo`.
        start_id: for `causal`.
        filler: any id, for targets that a document lacks beside others.

    Returns:
        One a target.
    """
    found: list[list[float]] = [[] for _ in targets]
    prefix = walk.prefix(source, lengths)
    longest = max((len(target) for each in targets for target in each), default=1)
    columns = max(1, CELLS // max(1, source.numel() * 2 * longest))
    missing = np.array([filler], np.int32)
    for first in range(0, max(map(len, targets), default=0), columns):
        parts = [each[first : first + columns] for each in targets]
        width = max(map(len, parts))
        rows = pad([row for part in parts for row in [*part, *[missing] * (width - len(part))]], filler)
        logs = row_log_probs(
            walk, prefix, rows.to(source.device), objective, mask_id=mask_id, start_id=start_id
        ).view(len(parts), width, -1)
        for kept, part, values in zip(found, parts, logs.cpu(), strict=True):
            kept += [float(row[: len(target)].mean()) for target, row in zip(part, values, strict=False)]
    return found


@torch.inference_mode()
def row_log_probs(
    walk: Walk,
    prefix: Prefix,
    rows: Tensor,
    objective: Objective = "pseudo",
    *,
    mask_id: int,
    start_id: int = 0,
    chunk: int = 4096,
) -> Tensor:
    """Log-probability of every piece of given targets, in one pass, as the steps of decoding would give it.

    Args:
        walk: the model, in evaluation mode.
        prefix: of B documents.
        rows: (R, T) int64, R / B targets of each document, in the order of the documents; behind the end
            anything.
        objective: the one that the model was trained with.
        mask_id: for `pseudo`.
        start_id: for `causal`.
        chunk: rows of logits at a time.

    Returns:
        (R, T) float32, nats; behind the end meaningless.
    """
    R, T = rows.shape
    pseudo = objective == "pseudo"
    lengths = prefix.lengths.repeat_interleave(R // len(prefix.lengths))
    ids = torch.cat([rows, torch.full_like(rows, mask_id)], 1) if pseudo else shifted(rows, start_id)
    positions = target_positions(lengths, T).repeat(1, 2 if pseudo else 1)
    hidden = walk.embed(ids, positions, walk.target_type)
    hidden = walk.rows_behind(prefix, hidden, own_mask(T, rows.device, pseudo=pseudo))[:, -T:]
    pairs = zip(hidden.reshape(R * T, -1).split(chunk), rows.reshape(-1).split(chunk), strict=True)
    found = [
        walk.logits(part).float().log_softmax(-1).gather(1, label[:, None])[:, 0] for part, label in pairs
    ]
    return torch.cat(found).view(R, T)
