"""The contrastive loss in chunks, against the whole matrix, numbers by hand, and what it allocates."""

import math

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from nonet.kernels.global_contrastive import Teacher, global_contrastive
from nonet.testing import devices, normal


def unit(count, seed, dtype=torch.float64):
    return F.normalize(normal(count, 8, seed=seed, dtype=dtype), dim=1)


def whole(
    queries, keys, labels, tau, key_labels=None, queue=None, queue_labels=None, teacher=None, alpha=0.0
):
    """The same with every similarity at once."""
    every = keys if queue is None else torch.cat([keys, queue])
    logits = queries @ every.T / tau
    if key_labels is None:
        right = F.one_hot(labels, len(every)).to(logits)
    else:
        ids = key_labels
        if queue is not None:
            none = torch.full((len(queue),), -7, device=ids.device)
            ids = torch.cat([ids, none if queue_labels is None else queue_labels])
        right = (labels[:, None] == ids).to(logits)
        right = right / right.sum(1, keepdim=True)
    hits = right.gather(1, logits.argmax(1, keepdim=True))[:, 0] > 0
    if teacher is not None:
        theirs = teacher.keys if queue is None else torch.cat([teacher.keys, queue])
        taught = (teacher.queries @ theirs.T / tau.detach()).softmax(1)
        right = alpha * taught + (1 - alpha) * right
    return F.cross_entropy(logits, right, reduction="sum"), hits


CASES = {
    "plain": {},
    "queue": {"queue": unit(9, 5)},
    "labels": {"key_labels": torch.tensor([3, 0, 1, 2, 4, 3, 0])},
    "labels in the queue": {
        "key_labels": torch.tensor([3, 0, 1, 2, 4, 3, 0]),
        "queue": unit(3, 5),
        "queue_labels": torch.tensor([1, -1, 3]),
    },
    "teacher": {"teacher": Teacher(unit(5, 6), unit(7, 7)), "alpha": 0.4, "queue": unit(9, 5)},
    "teacher alone": {"teacher": Teacher(unit(5, 6), unit(7, 7)), "alpha": 1.0},
}


@devices
@pytest.mark.parametrize("case", CASES)
def test_loss_hits_and_gradients_are_those_of_the_whole_matrix(case, device):
    more = {
        name: Teacher(*(part.to(device) for part in value))
        if isinstance(value, Teacher)
        else value.to(device)
        if isinstance(value, torch.Tensor)
        else value
        for name, value in CASES[case].items()
    }
    labels = torch.tensor([3, 0, 1, 2, 4], device=device)
    found = []
    chunks = [(global_contrastive, {"chunk": chunk}) for chunk in (1, 2, 5, None)]
    for function, options in [(whole, {}), *chunks]:
        queries, keys = unit(5, 1).to(device).requires_grad_(), unit(7, 2).to(device).requires_grad_()
        tau = torch.tensor(0.3, dtype=torch.float64, device=device, requires_grad=True)
        loss, hits = function(queries, keys, labels, tau, **more, **options)
        (2 * loss).backward()
        found.append([loss.detach(), hits, queries.grad, keys.grad, tau.grad])
    for mine in found[1:]:
        for part, wanted in zip(mine, found[0], strict=True):
            torch.testing.assert_close(part, wanted, rtol=1e-10, atol=1e-12)


def test_two_unit_vectors_lose_the_number_by_hand():
    eye = torch.eye(2)
    found = global_contrastive(eye, eye, torch.arange(2), 1.0)
    assert found.loss.item() == pytest.approx(2 * math.log1p(math.exp(-1)), rel=1e-6)
    assert found.loss.item() == pytest.approx(0.6265234, abs=1e-6)
    assert found.hits.tolist() == [True, True]


def test_frozen_keys_get_no_gradient_and_bfloat16_is_computed_in_float32():
    queries = unit(4, 1, torch.float32).bfloat16().requires_grad_()
    keys = unit(6, 2, torch.float32).bfloat16()
    loss = global_contrastive(queries, keys, torch.arange(4), 0.07).loss
    wanted, _ = whole(queries.detach().float(), keys.float(), torch.arange(4), torch.tensor(0.07))
    torch.testing.assert_close(loss.detach(), wanted)
    loss.backward()
    assert queries.grad.dtype == torch.bfloat16
    assert keys.grad is None


class Largest(TorchDispatchMode):
    """Notes the most numbers that any result has."""

    most = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        if isinstance(result, torch.Tensor):
            self.most = max(self.most, result.untyped_storage().nbytes())
        return result


def test_no_tensor_is_as_large_as_the_whole_matrix():
    queries, keys = unit(256, 1, torch.float32).requires_grad_(), unit(512, 2, torch.float32).requires_grad_()
    teacher = Teacher(unit(256, 3, torch.float32), unit(512, 4, torch.float32))
    matrix = 256 * 512 * 4
    sizes = {}
    for name, function in (("chunks", global_contrastive), ("whole", whole)):
        options = {"chunk": 16} if name == "chunks" else {}
        with Largest() as seen:
            found = function(
                queries, keys, torch.arange(256), torch.tensor(0.1), teacher=teacher, alpha=0.4, **options
            )
            found[0].backward()
        sizes[name] = seen.most
    assert sizes == {"chunks": 16 * 512 * 4, "whole": 2 * matrix}  # the labels of `whole` are int64


def test_no_queries_lose_nothing():
    queries = torch.zeros(0, 8, requires_grad=True)
    loss, hits = global_contrastive(queries, unit(3, 1, torch.float32), torch.zeros(0, dtype=torch.long), 0.1)
    loss.backward()
    assert (loss.item(), len(hits)) == (0.0, 0)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"keys": torch.zeros(3, 7)}, "do not fit keys"),
        ({"labels": torch.arange(3)}, "one label each"),
        ({"queue": torch.zeros(3, 7)}, "a queue"),
        ({"queue_labels": torch.arange(3)}, "labels of a queue go with"),
        ({"alpha": 0.4}, "a teacher that is not there"),
        ({"chunk": 0}, "less than one query"),
        ({"teacher": Teacher(torch.zeros(2, 8), torch.zeros(2, 8)), "alpha": 2.0}, "not in 0..1"),
        (
            {"teacher": Teacher(torch.zeros(2, 8), torch.zeros(3, 8)), "alpha": 0.5},
            "as many queries and keys",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change, text):
    parts = {"queries": torch.zeros(2, 8), "keys": torch.zeros(2, 8), "labels": torch.arange(2), "tau": 0.1}
    with pytest.raises(ValueError, match=text):
        global_contrastive(**(parts | change))


def test_second_derivatives_are_refused():
    queries = unit(3, 1, torch.float32).requires_grad_()
    loss = global_contrastive(queries, unit(3, 2, torch.float32), torch.arange(3), 0.1).loss
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(loss, queries, create_graph=True)
