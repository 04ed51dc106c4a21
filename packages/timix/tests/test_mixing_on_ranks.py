"""Two processes, each with its batch, against one that holds both."""

import pytest
import torch
from torch.nn.functional import normalize

from nonet.testing import normal, seeded, two_processes
from timix import TextAwareMix, mix_targets, mixed_itc
from timix.hosts import mixed_term
from timix.mixed_targets import text_targets

BATCH, WIDTH = 4, 6  # of each process; of the shared space
MIX = TextAwareMix(4, 0.5, 0.5)


def everything():
    """Scores, images, texts, probabilities and weights of an encoder: all of both processes."""
    texts = normalize(normal(2 * BATCH, WIDTH, seed=6), dim=1)
    weights = normal(48, WIDTH, seed=5).requires_grad_()
    probs = normal(2 * BATCH, 2 * BATCH, seed=3).softmax(1)
    return normal(2 * BATCH, 4, 4), normal(2 * BATCH, 3, 4, 4), texts, probs, weights


def of_a_rank():
    """Loss and gradient of a process, and its hard and soft labels of images and texts."""
    rank = torch.distributed.get_rank()
    *parts, weights = everything()
    scores, images, texts, probs = (part[rank * BATCH : (rank + 1) * BATCH] for part in parts)
    plan = MIX.plan(scores, seeded())
    term, _ = mixed_term(lambda x: x.flatten(1) @ weights, images, texts, plan, MIX, scale=5.0)
    term.backward()
    labels = [mix_targets(plan, mode, probs, world=(rank, 2)) for mode in ("hard", "soft")]
    return term.item(), weights.grad, [(part, text_targets(part, (rank, 2))) for part in labels]


@pytest.mark.slow
def test_two_processes_have_the_labels_the_loss_and_the_gradient_of_one():
    ranks = two_processes(of_a_rank)
    scores, images, texts, probs, weights = everything()
    partner = [3, 2, 1, 0, 7, 6, 5, 4]  # within each process, where the released code takes 7, 6, 5, ...
    for number, own in enumerate((torch.eye(2 * BATCH), probs)):
        wanted = 0.75 * own + 0.25 * own[partner]
        of_images, of_texts = (torch.cat([rank[2][number][side] for rank in ranks]) for side in (0, 1))
        torch.testing.assert_close(of_images, wanted)
        torch.testing.assert_close(of_texts, (wanted / wanted.sum(0)).mT)

    halves = [slice(0, BATCH), slice(BATCH, 2 * BATCH)]
    plans = [MIX.plan(scores[half], seeded()) for half in halves]
    mixed = torch.cat([MIX.pixels(images[half], plan) for half, plan in zip(halves, plans, strict=True)])
    targets = torch.block_diag(*(mix_targets(plan) for plan in plans))
    wanted, _ = mixed_itc(normalize(mixed.flatten(1) @ weights, dim=1), texts, targets, 0.2)
    wanted.backward()
    assert sum(rank[0] for rank in ranks) / 2 == pytest.approx(wanted.item())
    torch.testing.assert_close(sum(rank[1] for rank in ranks) / 2, weights.grad)
