"""Two processes with half of the batch each: the losses and gradients of one with the whole batch."""

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from cap_prune.banks import Banks
from cap_prune.contrast import Contrast
from cap_prune.criteria import CRITERIA
from cap_prune.distillation import teacher_logits
from cap_prune.objective import Objective
from cap_prune.representations import encode
from nonet.testing import whole
from nonet.testing_ranks import two_processes

N = 12
CUTS = (slice(0, 5), slice(5, 8))  # the devices' shares of a batch of 8; they differ


def model_of(seed):
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24
    )
    return BertForSequenceClassification(config).eval()


def rows(index):
    ids, labels = whole(49, N, 5) + 1, whole(2, N, seed=1)
    return {
        "input_ids": ids[index], "attention_mask": torch.ones_like(ids[index]), "labels": labels[index],
        "index": index,
    }  # fmt: skip


def loss_and_gradients(reduction, rank=None):
    """What one device computes of its share, or of the whole batch; gradients averaged as DDP does."""
    model, teacher = model_of(0), model_of(1)
    every = torch.arange(N)
    mine = every if rank is None else every[rank::2]
    banks = Banks(N, 16, snapshots=2, dtype="fp32")
    for name, source in (("pre", model), ("fine", teacher), ("snap-1", model), ("snap-2", teacher)):
        banks.fill(name, encode(source, [rows(mine)], "cls"))
    contrast = Contrast(
        banks, weights={kind: (0.3, 0.5) for kind in ("pre", "snap", "fine")}, extra=6, reduction=reduction,
        labels=rows(every)["labels"],
    )  # fmt: skip
    objective = Objective(
        "classification", align="cls", teacher=teacher_logits(teacher, [rows(every)], N), contrast=contrast
    )
    batch = torch.tensor([7, 2, 11, 0, 5, 9, 3, 4])
    batch = rows(batch if rank is None else batch[CUTS[rank]])
    loss = objective.loss(model, batch, step=4)
    loss.backward()
    found = torch.cat([weight.grad.flatten() for weight in model.parameters()])
    value = loss.detach()
    if rank is not None:
        for each in (found, value):
            torch.distributed.all_reduce(each)
            each /= 2
    scores = CRITERIA["first-order"](model, [batch], lambda rows, step: objective.loss(model, rows, step))
    return value, found, torch.cat([*scores.heads, *scores.neurons]), banks.table_NVd


def on_a_device():
    return [loss_and_gradients(form, torch.distributed.get_rank()) for form in ("paper", "released")]


@pytest.mark.slow
def test_two_devices_compute_what_one_does():
    alone = [loss_and_gradients(form) for form in ("paper", "released")]
    assert alone[0][0] > 1.5 * alone[1][0]
    for both in two_processes(on_a_device):
        for part, (value, gradient, scores, table) in zip(both, alone, strict=True):
            assert torch.allclose(part[3], table, atol=1e-6)
            assert part[0].item() == pytest.approx(value.item(), rel=1e-5)
            assert torch.allclose(part[1], gradient, atol=1e-5)
            assert torch.allclose(part[2], scores, atol=1e-5)
