"""A training step of contrastive pruning as the original's release does it, restated from its description.

What makes it slow is kept on purpose: every text padded to 128 pieces, masks in place of smaller matrices,
the teacher's forward pass in every step, banks on the CPU out of which other examples are drawn by
`random.sample`, all candidates compared with all anchors by masks of the full size, identities compared as
floats.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

LENGTH = 128  # pieces that every text is padded to
NOT = -1e6  # in place of an anchor's similarity with itself


def padded(ids: Sequence[Sequence[int]], pad: int) -> dict[str, Tensor]:
    """Pieces (B, 128) and their mask."""
    rows = torch.full((len(ids), LENGTH), pad, dtype=torch.long)
    mask = torch.zeros(len(ids), LENGTH, dtype=torch.long)
    for row, pieces in enumerate(ids):
        rows[row, : len(pieces)] = torch.as_tensor(pieces, dtype=torch.long)
        mask[row, : len(pieces)] = 1
    return {"input_ids": rows, "attention_mask": mask}


def contrast(
    z: Tensor, index: Tensor, labels: Tensor, bank: Tensor, all_labels: Tensor, *,
    unsupervised: float, supervised: float, temperature: float, extra: int,
) -> Tensor:  # fmt: skip
    """The released form of one bank's loss.

    Args:
        z: (B, d) normalised anchors.
        index: (B,) numbers of the examples.
        labels: (B,) their labels.
        bank: (N, R, d).
        all_labels: (N,) labels of all examples.
        unsupervised: weight of the term over own vectors.
        supervised: weight of the term over vectors of the same label.
        temperature: of the similarities.
        extra: vectors of other examples at most.
    """
    count, width = bank.shape[:2]
    others = random.sample(range(count), min(count, extra // width))
    others_ = torch.tensor(others)
    candidates = torch.cat(
        [z.detach(), bank[index].flatten(0, 1).to(z.device), bank[others_].flatten(0, 1).to(z.device)]
    )
    numbers = torch.cat(
        [index, index.repeat_interleave(width), others_.repeat_interleave(width).to(index.device)]
    ).float()
    classes = torch.cat([labels, all_labels[numbers[len(z) :].long()]]).float()
    scores = z @ candidates.T / temperature
    itself = torch.cat([torch.eye(len(z)), torch.zeros(len(z), len(candidates) - len(z))], dim=1).to(z.device)
    scores = scores + itself * NOT
    log_share = scores.log_softmax(dim=1)
    total = z.new_zeros(())
    for weight, anchors, found in (
        (unsupervised, index.float(), numbers),
        (supervised, labels.float(), classes),
    ):
        positive = (anchors[:, None] == found[None]).float() * (1 - itself)
        each = -(positive * log_share).sum(1) / positive.sum(1)
        total = total + weight * each.sum() / positive.sum()
    return total


def step(
    student: Any, teacher: Any, optimizer: torch.optim.Optimizer, batch: Mapping[str, Tensor],
    banks: Sequence[Tensor], all_labels: Tensor, *, unsupervised: float, supervised: float,
    temperature: float, extra: int,
) -> float:  # fmt: skip
    """One optimiser step of a masked student; its loss.

    Args:
        student: a classifier with gates of 0 on what is pruned.
        teacher: the dense classifier, in evaluation mode.
        optimizer: of the student.
        batch: input_ids, attention_mask (B, 128), index, labels (B,).
        banks: (N, R, d) each.
        all_labels: (N,).
        unsupervised: weight, as in `contrast`.
        supervised: likewise.
        temperature: likewise.
        extra: likewise.
    """
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        wanted = teacher(**inputs).logits
    hidden = student.bert(**inputs)[0]
    logits = student.classifier(student.dropout(student.bert.pooler(hidden)))
    mask = inputs["attention_mask"][:, :, None].to(hidden.dtype)
    z = functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
    loss = 0.1 * functional.cross_entropy(logits, batch["labels"])
    loss = loss + 0.9 * functional.kl_div(logits.log_softmax(-1), wanted.softmax(-1), reduction="batchmean")
    for bank in banks:
        loss = loss + contrast(
            z, batch["index"], batch["labels"], bank, all_labels, unsupervised=unsupervised,
            supervised=supervised, temperature=temperature, extra=extra,
        )  # fmt: skip
    loss.backward()
    torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())
