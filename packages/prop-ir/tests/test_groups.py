"""Groups against their definition, and losses against torch's own."""

import numpy as np
import pytest
import torch

from prop_ir.group_losses import group_losses
from prop_ir.groups import Choice, GroupCollate, GroupData, Task, choices
from prop_ir.inputs import PairTemplate

PIECES = {name: np.array([5, 6]) for name in "abcdefgh"}
RUN = {"q1": dict.fromkeys("abcdef", 1.0), "q2": dict.fromkeys("ab", 1.0), "q3": dict.fromkeys("cd", 1.0)}
QRELS = {"q1": {"b": 2, "d": 0, "f": 1, "h": 1, "z": 1}, "q2": {"a": 1, "b": 1}, "q3": {"c": -1}}
TASK = Task({q: np.array([7]) for q in RUN}, PIECES, RUN, QRELS)


def test_unjudged_and_lower_grades_are_negative_and_queries_without_either_are_named():
    found, without = choices(TASK, list(RUN), depth=6)
    assert found == [Choice("q1", ("b", "f"), ("a", "c", "d", "e"))]
    assert without == ["q2", "q3"]


def test_depth_and_documents_without_text():
    assert choices(TASK, ["q1"], depth=2)[0] == [Choice("q1", ("b",), ("a",))]
    missing = Task(TASK.queries, {name: PIECES[name] for name in "abce"}, RUN, QRELS)
    assert choices(missing, ["q1"], depth=6)[0] == [Choice("q1", ("b",), ("a", "c", "e"))]


def test_judged_positives_need_no_first_stage_but_a_text():
    found, _ = choices(TASK, ["q1"], depth=2, positives="judged")
    assert found == [Choice("q1", ("b", "f", "h"), ("a",))]


CHOICES = [
    Choice("q1", ("p1", "p2"), tuple(f"n{i}" for i in range(30))),
    Choice("q2", ("p3",), ("m1", "m2")),
]


def test_a_group_for_every_positive_with_distinct_negatives_of_its_query():
    data = GroupData(CHOICES, negatives=6, seed=0)
    assert len(data) == 3
    groups = [data[epoch, index] for epoch in range(20) for index in range(3)]
    assert [group.documents[0] for group in groups[:3]] == ["p1", "p2", "p3"]
    for group in groups:
        assert len(group.documents) == 7
        assert set(group.documents[1:]) <= set(CHOICES[group.query == "q2"].negatives)
        if group.query == "q1":
            assert len(set(group.documents)) == 7
    drawn = {name for group in groups if group.query == "q1" for name in group.documents[1:]}
    assert drawn == set(CHOICES[0].negatives)


def test_a_group_for_every_query_draws_its_positive():
    data = GroupData(CHOICES, negatives=1, each="query", seed=0)
    assert len(data) == 2
    drawn = [data[epoch, 0].documents[0] for epoch in range(200)]
    assert 70 < drawn.count("p1") < 130
    assert set(drawn) == {"p1", "p2"}


def test_a_group_follows_from_seed_epoch_and_index():
    one, two, other = (GroupData(CHOICES, negatives=5, seed=seed) for seed in (1, 1, 2))
    assert one[3, 1] == two[3, 1]
    assert one[3, 1] != one[4, 1]
    assert one[3, 1] != other[3, 1]


def test_a_batch_is_what_the_tokenizer_makes_of_the_pairs(judged_toy, judged_ranker, judged_task):
    _, tokenizer = judged_ranker()
    query = next(iter(judged_toy.topics))
    data = GroupData(choices(judged_task, list(judged_toy.topics), depth=12)[0], negatives=3, seed=0)
    groups = [data[0, 0], data[0, len(data) - 1]]
    collate = GroupCollate(judged_task, PairTemplate.of(tokenizer), max_length=40, pad=tokenizer.pad_token_id)
    batch = collate(groups)
    expected = tokenizer(
        [judged_toy.topics[group.query] for group in groups for _ in group.documents],
        [judged_toy.texts[name] for group in groups for name in group.documents],
        truncation="only_second", max_length=40, padding=True, return_tensors="pt",
        return_token_type_ids=True,
    )  # fmt: skip
    for name in ("input_ids", "token_type_ids", "attention_mask"):
        assert torch.equal(batch[name], expected[name])
    assert batch["ids"] == [group.query for group in groups]
    assert query in judged_task.queries


SCORES = torch.tensor([[2.0, 1.5, -1.0], [0.0, 3.0, 0.25]])


def test_cross_entropy_is_torch_s_with_label_0():
    expected = torch.nn.CrossEntropyLoss(reduction="none")(SCORES, torch.zeros(2, dtype=torch.int64))
    assert torch.allclose(group_losses(SCORES, "cross-entropy"), expected)


def test_hinge_is_torch_s_margin_ranking_loss():
    loss = torch.nn.MarginRankingLoss(1.0, reduction="none")
    target = torch.ones(2)
    expected = (loss(SCORES[:, 0], SCORES[:, 1], target) + loss(SCORES[:, 0], SCORES[:, 2], target)) / 2
    assert torch.allclose(group_losses(SCORES, "hinge"), expected)
    assert group_losses(torch.tensor([[3.0, 1.5]]), "hinge").item() == 0


def test_logistic_by_hand():
    expected = (np.log1p(np.exp(3.0)) + np.log1p(np.exp(0.25))) / 2
    assert group_losses(SCORES, "logistic")[1].item() == pytest.approx(expected, rel=1e-6)
    assert group_losses(torch.tensor([[1.0, 1.0]]), "logistic").item() == pytest.approx(np.log(2))


def test_large_scores_do_not_overflow():
    for kind in ("cross-entropy", "hinge", "logistic"):
        assert torch.isfinite(group_losses(torch.tensor([[-1e4, 1e4]]), kind)).all()
