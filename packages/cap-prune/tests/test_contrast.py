"""The contrastive losses against hand computations, loops over candidates, and what must not matter."""

import math

import pytest
import torch

from cap_prune.banks import Banks, draw
from cap_prune.contrast import Contrast, contrastive_loss
from nonet.testing import normal, whole

TAU = 0.1


def unit(*shape, seed=0):
    return torch.nn.functional.normalize(normal(*shape, seed=seed), dim=-1)


def value(term):
    return float(term[0].detach() / term[1])


def by_loops(z, index, bank, *, extra=(), labels=None, tau=TAU, released=False):
    """The released loss, candidate by candidate in Python floats: (unsupervised, supervised)."""
    candidates = [(z[j].tolist(), int(index[j]), j) for j in range(len(z))]
    for row in [*index.tolist(), *extra]:
        candidates += [(bank[row, r].tolist(), row, None) for r in range(bank.shape[1])]
    found = []
    for supervised in (False, True) if labels is not None else (False,):
        losses, positives = [], 0
        for i in range(len(z)):
            others = [(vector, row) for vector, row, place in candidates if place != i]
            scores = [
                sum(a * b for a, b in zip(z[i].tolist(), vector, strict=True)) / tau for vector, _ in others
            ]
            log_sum = max(scores) + math.log(sum(math.exp(score - max(scores)) for score in scores))
            mine = [
                log_sum - score
                for score, (_, row) in zip(scores, others, strict=True)
                if (labels[row] == labels[index[i]] if supervised else row == index[i])
            ]
            if mine:
                losses.append(sum(mine) / len(mine))
                positives += len(mine)
        found.append(sum(losses) / (positives if released else len(losses)) if losses else 0.0)
    return found


@pytest.mark.parametrize("reduction", ["paper", "released"])
def test_two_anchors_on_the_axes_lose_ln_of_e_plus_2_minus_1(reduction):
    axes = torch.eye(2)
    terms = contrastive_loss(axes, torch.arange(2), axes[:, None], tau=1.0, reduction=reduction)
    assert value(terms.unsupervised) == pytest.approx(0.551445, abs=1e-6)


@pytest.mark.parametrize("reduction", ["paper", "released"])
@pytest.mark.parametrize(
    ("index", "R", "extra"),
    [
        ([3, 0, 5, 7], 1, []),
        ([3, 0, 5, 7], 3, [1, 2, 8]),
        ([3, 0, 5, 7], 2, [0, 1, 3, 9]),  # two anchors are drawn again
        ([3, 0, 3, 7], 2, [2, 3]),  # one example is twice in the batch
        ([4], 1, list(range(10))),
    ],
)
def test_both_losses_are_those_of_loops_over_all_candidates(reduction, index, R, extra):
    index = torch.tensor(index)
    z, bank, labels = unit(len(index), 6), unit(10, R, 6, seed=1), whole(3, 10)
    terms = contrastive_loss(
        z, index, bank, tau=TAU, extra_K=torch.tensor(extra, dtype=torch.long), labels_N=labels,
        reduction=reduction,
    )  # fmt: skip
    expected = by_loops(z, index, bank, extra=extra, labels=labels, released=reduction == "released")
    assert [value(term) for term in terms] == pytest.approx(expected, rel=1e-5)


def test_with_8_snapshots_the_papers_loss_is_8_times_the_released_one():
    z, bank = unit(16, 8), unit(50, 8, 8, seed=1)
    paper, released = (
        contrastive_loss(z, torch.arange(16), bank, tau=TAU, reduction=form).unsupervised
        for form in ("paper", "released")
    )
    assert value(paper) == pytest.approx(8 * value(released), rel=1e-6)


def test_the_released_supervised_loss_is_as_many_times_smaller_as_an_anchor_has_positives():
    labels = torch.arange(5000) % 2
    z, bank = unit(16, 8), unit(5000, 1, 8, seed=1)
    extra = torch.arange(100, 4196)
    paper, released = (
        contrastive_loss(
            z, torch.arange(16), bank, tau=TAU, extra_K=extra, labels_N=labels, reduction=form
        ).supervised
        for form in ("paper", "released")
    )
    positives = 7 + 8 + 2048  # of the batch the others and the bank's, half of the extra examples
    assert value(paper) == pytest.approx(positives * value(released), rel=1e-5)


def test_the_order_of_the_batch_and_a_rotation_of_all_vectors_do_not_matter():
    z, bank, labels, index = unit(6, 4), unit(20, 2, 4, seed=1), whole(2, 20), torch.arange(3, 9)
    extra = torch.tensor([1, 5, 12])

    def losses(z, index, bank):
        terms = contrastive_loss(z, index, bank, tau=TAU, extra_K=extra, labels_N=labels)
        return [value(term) for term in terms]

    first = losses(z, index, bank)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    rotation, _ = torch.linalg.qr(normal(4, 4, seed=2))
    assert losses(z[order], index[order], bank) == pytest.approx(first, rel=1e-5)
    assert losses(z @ rotation, index, bank @ rotation) == pytest.approx(first, rel=1e-5)


def test_the_gradient_reaches_anchors_only_as_anchors():
    """Moving one anchor changes the others' candidates, too; the gradient is that of its own loss alone."""
    bank, index, labels = unit(9, 2, 4, seed=1).double(), torch.tensor([2, 0, 7]), whole(2, 9)
    start = unit(3, 4)
    z, bank_leaf = start.clone().requires_grad_(), bank.float().requires_grad_()
    terms = contrastive_loss(z, index, bank_leaf.detach(), tau=1.0, labels_N=labels)
    total, _ = terms.unsupervised
    total.backward()
    assert bank_leaf.grad is None

    def own(vector):
        """The first anchor's loss at `vector`; what others see of it stays where it was."""
        others = [(start[j].double(), int(index[j])) for j in (1, 2)]
        others += [(bank[row, r], row) for row in index.tolist() for r in range(2)]
        scores = torch.stack([vector @ candidate for candidate, _ in others])
        mine = torch.tensor([row == 2 for _, row in others])
        return float(-(scores - scores.logsumexp(0))[mine].mean())

    steps = torch.eye(4, dtype=torch.float64) * 1e-5
    slope = [(own(start[0].double() + step) - own(start[0].double() - step)) / 2e-5 for step in steps]
    assert z.grad[0].tolist() == pytest.approx(slope, abs=1e-5)


def test_a_class_with_one_example_has_no_supervised_loss_and_nothing_is_nan():
    z = unit(3, 4).requires_grad_()
    bank = unit(3, 1, 4, seed=1)
    index = torch.tensor([0, 1, 2])
    every_other = contrastive_loss(z, index, bank, tau=TAU, labels_N=torch.tensor([0, 1, 2]))
    assert every_other.supervised[1] == 3  # each still has its own vector in the bank
    lonely = contrastive_loss(z, index, bank[:, :0], tau=TAU, labels_N=torch.tensor([0, 0, 1]))
    assert lonely.supervised[1] == 2
    assert lonely.unsupervised[1] == 0
    total = lonely.supervised[0] + lonely.unsupervised[0]
    total.backward()
    assert lonely.unsupervised[0].item() == 0
    assert z.grad.isfinite().all()
    assert z.grad[2].tolist() == [0] * 4


def test_mixed_precision_leaves_the_losses_in_32_bits():
    z, bank = unit(8, 16), unit(30, 1, 16, seed=1)
    plain = contrastive_loss(z, torch.arange(8), bank, tau=TAU).unsupervised
    with torch.autocast("cpu", torch.bfloat16):
        mixed = contrastive_loss(z, torch.arange(8), bank, tau=TAU).unsupervised
    assert torch.equal(plain[0], mixed[0])


def full_banks(count=12, width=8, names=("pre", "fine"), snapshots=2):
    banks = Banks(count, width, snapshots=snapshots, dtype="fp32")
    for seed, name in enumerate(names):
        banks.fill(name, [(torch.arange(count), unit(count, width, seed=seed + 5))])
    return banks


WEIGHTS = {"pre": (0.3, 3.0), "snap": (0.2, 0.0), "fine": (0.0, 0.5)}


def test_each_bank_has_its_weights_and_snapshots_count_once_there_are_any():
    labels = whole(2, 12)
    banks = full_banks()
    contrast = Contrast(banks, weights=WEIGHTS, extra=4, labels=labels)
    z, index = unit(4, 8), torch.tensor([1, 11, 4, 0])
    found = contrast(z, index, step=7)
    assert sorted(found) == ["fic_sup", "prc", "prc_sup"]
    extra = draw(12, 4, 0, 7, "pre").tolist()
    plain = by_loops(z, index, banks.bank("pre"), extra=extra, labels=labels)
    assert value(found["prc"]) == pytest.approx(0.3 * plain[0], rel=1e-5)
    assert value(found["prc_sup"]) == pytest.approx(3.0 * plain[1], rel=1e-5)
    banks.fill("snap-1", [(torch.arange(12), unit(12, 8, seed=9))])
    assert "snc" in contrast(z, index, step=8)
    banks.fill("snap-2", [(torch.arange(12), unit(12, 8, seed=10))])
    extra = draw(12, 2, 0, 9, "snap").tolist()  # two vectors of each, hence half as many examples
    expected = by_loops(z, index, banks.bank("snap"), extra=extra)[0]
    assert value(contrast(z, index, step=9)["snc"]) == pytest.approx(0.2 * expected, rel=1e-5)


def test_fewer_examples_than_extra_ones_are_all_candidates_and_it_is_said_once():
    said = []
    contrast = Contrast(full_banks(), weights={"pre": (1.0, 0.0)}, extra=4096, say=said.append)
    z, index = unit(4, 8), torch.arange(4)
    found = [contrast(z, index, step) for step in range(2)]
    assert said == ["4096 extra examples are more than the 12 there are: every one is a candidate"]
    expected = by_loops(z, index, contrast.banks.bank("pre"), extra=range(12))[0]
    assert [value(each["prc"]) for each in found] == pytest.approx([expected] * 2, rel=1e-5)


@pytest.mark.parametrize("labels", [None, torch.linspace(0, 5, 12)])
def test_a_task_without_classes_has_no_supervised_loss_and_it_is_said(labels):
    said = []
    contrast = Contrast(full_banks(), weights=WEIGHTS, extra=4, labels=labels, say=said.append)
    assert list(contrast(unit(4, 8), torch.arange(4), 0)) == ["prc"]
    assert said == ["the supervised contrast is off: this task has no classes"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"weights": {"before": (1, 0)}}, "no bank is called before; there are pre, snap, fine"),
        ({"weights": {"pre": (-1, 0)}}, "weights are 0 or more"),
        ({"weights": {}, "tau": 0}, "tau is 0; it is positive"),
    ],
)
def test_a_contrast_that_cannot_be_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        Contrast(full_banks(), **wrong)
