"""The training loss: its parts, its limits, and the same steps as ordinary fine-tuning."""

import copy

import pytest
import torch
from torch.nn import functional as F
from transformers import BertConfig, BertForQuestionAnswering, BertForSequenceClassification

from cap_prune.banks import Banks
from cap_prune.contrast import Contrast
from cap_prune.distillation import teacher_logits
from cap_prune.objective import Objective, total
from cap_prune.representations import encode
from nonet.testing import whole

N, B, L = 12, 4, 6
LABELS = {"classification": 3, "regression": 1, "qa": 2}


def make(kind, seed=0):
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        num_labels=LABELS[kind],
    )  # fmt: skip
    return (BertForQuestionAnswering if kind == "qa" else BertForSequenceClassification)(config)


def batches(kind):
    ids = whole(49, N, L) + 1
    labels = {
        "classification": {"labels": whole(3, N, seed=1)},
        "regression": {"labels": whole(50, N, seed=1) / 10},
        "qa": {"starts": whole(L, N, seed=1), "ends": whole(L, N, seed=2)},
    }[kind]
    columns = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "index": torch.arange(N), **labels}
    return [{name: value[start : start + B] for name, value in columns.items()} for start in range(0, N, B)]


def ordinary(model, batch):
    """transformers' own loss."""
    names = {"starts": "start_positions", "ends": "end_positions"}
    return model(**{names.get(name, name): value for name, value in batch.items() if name != "index"}).loss


@pytest.mark.parametrize("kind", LABELS)
def test_without_teacher_and_contrast_each_step_is_that_of_ordinary_fine_tuning(kind):
    ours = make(kind)
    theirs = copy.deepcopy(ours)
    objective = Objective(kind, ce=1.0, kd=0.0)
    losses = []
    for model, loss in ((ours, objective.loss), (theirs, ordinary)):
        model.train()
        torch.manual_seed(3)  # the same dropout
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        made = []
        for _ in range(2):
            for batch in batches(kind):
                value = loss(model, batch)
                value.backward()
                optimizer.step()
                optimizer.zero_grad()
                made.append(value.item())
        losses.append(made)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(mine, other, atol=1e-5)


def whole_objective(kind, model, teacher):
    data = batches(kind)
    banks = Banks(N, 16, snapshots=1)
    for name, source in (("pre", model), ("fine", teacher), ("snap-1", model)):
        banks.fill(name, encode(source, data, "cls"))
    labels = torch.cat([batch["labels"] for batch in data]) if kind == "classification" else None
    supervised = 0.5 if labels is not None else 0.0
    contrast = Contrast(
        banks, weights={name: (0.3, supervised) for name in ("pre", "snap", "fine")}, extra=8, labels=labels
    )
    return Objective(
        kind, align="cls", temperature=2.0, teacher=teacher_logits(teacher, data, N), contrast=contrast
    )


@pytest.mark.parametrize("kind", LABELS)
def test_the_loss_is_the_sum_of_its_parts_and_trains_every_weight_that_it_uses(kind):
    model, teacher = make(kind).eval(), make(kind, seed=1).eval()
    objective = whole_objective(kind, model, teacher)
    batch = batches(kind)[1]
    terms = objective(model, batch, step=3)
    ce = ["ce_end", "ce_start"] if kind == "qa" else ["ce"]
    sup = ["fic_sup", "prc_sup", "snc_sup"] if kind == "classification" else []
    assert sorted(terms) == sorted([*ce, *sup, "fic", "kd", "prc", "snc"])
    parts = {name: (value / count).item() for name, (value, count) in terms.items()}
    loss = objective.loss(model, batch, step=3)
    assert loss.item() == pytest.approx(sum(parts.values()), rel=1e-5)
    assert total(terms).item() == loss.item()
    assert sum(parts[name] for name in ce) == pytest.approx(0.1 * ordinary(model, batch).item(), rel=1e-5)
    loss.backward()
    unused = {name for name, weight in model.named_parameters() if weight.grad is None}
    assert unused == set()
    assert all(weight.grad is None for weight in teacher.parameters())


def test_a_student_that_is_its_teacher_has_no_distillation_loss():
    model = make("classification").eval()
    objective = whole_objective("classification", model, model)
    value, _ = objective(model, batches("classification")[0])["kd"]
    assert value.item() == pytest.approx(0, abs=1e-6)


def test_the_distillation_has_its_weight_and_temperature():
    model, teacher = make("classification").eval(), make("classification", seed=1).eval()
    batch = batches("classification")[2]
    value, count = whole_objective("classification", model, teacher)(model, batch)["kd"]
    logits, wanted = (each(batch["input_ids"]).logits.detach() / 2 for each in (model, teacher))
    loss = F.kl_div(logits.log_softmax(-1), wanted.softmax(-1), reduction="batchmean")
    assert (value / count).item() == pytest.approx(0.9 * 4 * loss.item(), rel=1e-4)


def test_the_contrast_differs_from_step_to_step_and_not_between_two_calls():
    model, teacher = make("classification").eval(), make("classification", seed=1).eval()
    objective = whole_objective("classification", model, teacher)
    batch = batches("classification")[0]
    values = [objective.loss(model, batch, step).item() for step in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_answers_outside_of_the_window_and_padding_do_not_count():
    model = make("qa").eval()
    batch = batches("qa")[0]
    batch["attention_mask"] = batch["attention_mask"].clone()
    batch["attention_mask"][:, 4:] = 0
    batch["starts"], batch["ends"] = torch.tensor([1, 5, 9, -1]), torch.tensor([2, 3, 9, -100])
    terms = Objective("qa", ce=1.0, kd=0.0)(model, batch)
    assert [terms[name][1].item() for name in ("ce_start", "ce_end")] == [1, 2]
    shorter = {name: value[:1, :4] if value.ndim == 2 else value[:1] for name, value in batch.items()}
    alone = Objective("qa", ce=1.0, kd=0.0)(model, shorter)
    assert terms["ce_start"][0].item() == pytest.approx(alone["ce_start"][0].item(), rel=1e-4)
    nowhere = {**batch, "starts": torch.full((4,), 99), "ends": torch.full((4,), 99)}
    loss = Objective("qa", ce=1.0, kd=0.0).loss(model, nowhere)
    assert loss.item() == 0


def test_an_objective_without_a_part_that_it_needs_is_refused():
    with pytest.raises(ValueError, match=r"kd is 0\.9 and there is no teacher"):
        Objective("classification")
    with pytest.raises(ValueError, match="every weight is 0"):
        Objective("classification", ce=0, kd=0)
