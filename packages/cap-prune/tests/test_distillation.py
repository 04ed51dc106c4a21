"""The teacher's logits, what is learnt from them, and teachers that do not fit."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import BertConfig, BertForQuestionAnswering, BertForSequenceClassification

from cap_prune.distillation import (
    TeacherLogits,
    check_score,
    check_widths,
    data_key,
    distil,
    teacher_logits,
)
from nonet.errors import UserError
from nonet.testing import normal, whole


def make(kind=BertForSequenceClassification, seed=0):
    torch.manual_seed(seed)
    return kind(
        BertConfig(
            vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            num_labels=3 if kind is BertForSequenceClassification else 2,
        )
    )  # fmt: skip


def batches():
    """Five examples, in two batches of other lengths and another order."""
    ids = whole(49, 5, 6) + 1
    return [
        {"input_ids": ids[rows, :length], "attention_mask": torch.ones(len(rows), length, dtype=torch.long),
         "index": torch.tensor(rows)}
        for rows, length in (([4, 0, 2], 6), ([1, 3], 4))
    ]  # fmt: skip


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_loss_is_torchs_divergence_times_the_temperature_squared(temperature):
    student, teacher = normal(5, 3), normal(5, 3, seed=1)
    total, count = distil([student], [teacher], temperature)
    expected = F.kl_div(
        F.log_softmax(student / temperature, -1), F.softmax(teacher / temperature, -1), reduction="batchmean"
    )
    assert float(total / count) == pytest.approx(float(expected) * temperature**2, rel=1e-6)


def test_a_student_like_its_teacher_has_nothing_to_learn_from_it():
    logits = normal(5, 3)
    assert float(distil([logits], [logits.clone()], 2.0)[0]) == pytest.approx(0, abs=1e-6)
    mask = torch.ones(5, 3)
    assert float(distil([logits, logits], [logits, logits], 1.0, mask=mask)[0]) == pytest.approx(0, abs=1e-6)
    assert float(distil([logits[:, :1]], [logits[:, :1]], 1.0, regression=True)[0]) == 0


def test_answers_are_distilled_over_an_examples_pieces_and_padding_does_not_matter():
    student, teacher = [normal(1, 4), normal(1, 4, seed=1)], [normal(1, 4, seed=2), normal(1, 4, seed=3)]
    plain = distil(student, teacher, 2.0)[0]
    expected = sum(float(distil([s], [t], 2.0)[0]) for s, t in zip(student, teacher, strict=True)) / 2
    assert float(plain) == pytest.approx(expected, rel=1e-6)
    wide = [F.pad(each, (0, 3), value=9.0) for each in (*student, *teacher)]
    padded = distil(wide[:2], wide[2:], 2.0, mask=torch.tensor([[1] * 4 + [0] * 3]))[0]
    assert float(padded) == pytest.approx(float(plain), rel=1e-6)


def test_a_regression_is_taught_by_its_distance_since_a_softmax_over_one_output_is_1():
    total, count = distil(
        [torch.tensor([[1.0], [4.0]])], [torch.tensor([[3.0], [4.5]])], 2.0, regression=True
    )
    assert (float(total), float(count)) == (4.25, 2.0)


def test_logits_lie_at_the_numbers_of_their_examples():
    teacher = make().train()
    found = teacher_logits(teacher, batches(), 5)
    assert teacher.training
    teacher.eval()
    for batch in batches():
        logits = teacher(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        assert torch.allclose(found.rows(batch["index"], [logits])[0], logits, atol=1e-6)


def test_logits_of_answers_are_cut_to_the_batchs_length():
    teacher = make(BertForQuestionAnswering).eval()
    found = teacher_logits(teacher, batches(), 5)
    assert [each.shape for each in found.tensors] == [(5, 6)] * 2
    short = batches()[1]
    answer = teacher(input_ids=short["input_ids"], attention_mask=short["attention_mask"])
    rows = found.rows(short["index"], [answer.start_logits, answer.end_logits])
    assert torch.allclose(rows[0], answer.start_logits, atol=1e-6)
    assert torch.allclose(rows[1], answer.end_logits, atol=1e-6)


def test_kept_logits_are_read_instead_of_computed_until_weights_or_data_change(tmp_path):
    key = data_key([np.array([1, 2], np.int32)])
    first = teacher_logits(make(), batches(), 5, folder=tmp_path, key=key)
    again = teacher_logits(make(), [], 5, folder=tmp_path, key=key)  # without a batch it can only be read
    assert torch.equal(first.tensors[0], again.tensors[0])
    assert len(list(tmp_path.iterdir())) == 1
    other = teacher_logits(make(seed=1), batches(), 5, folder=tmp_path, key=key)
    assert not torch.equal(first.tensors[0], other.tensors[0])
    teacher_logits(make(), batches(), 5, folder=tmp_path, key=data_key([np.array([1, 3], np.int32)]))
    assert len(list(tmp_path.iterdir())) == 3


def test_a_damaged_file_is_said_and_replaced(tmp_path):
    said = []
    first = teacher_logits(make(), batches(), 5, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    whole_file = file.read_bytes()
    file.write_bytes(whole_file[:50])
    again = teacher_logits(make(), batches(), 5, folder=tmp_path, say=said.append)
    assert torch.equal(first.tensors[0], again.tensors[0])
    assert file.read_bytes() == whole_file
    assert len(said) == 1
    assert "damaged, the teacher's logits are computed again" in said[0]


def test_examples_that_the_teacher_did_not_see_are_refused():
    with pytest.raises(ValueError, match="the teacher saw 5 of 6 examples"):
        teacher_logits(make(), batches(), 6)
    with pytest.raises(ValueError, match=r"the teacher has logits \(2, 3\), the student \(2, 4\)"):
        TeacherLogits([torch.zeros(5, 3)]).rows(torch.tensor([0, 1]), [torch.zeros(2, 4)])


def test_data_keys_tell_pieces_types_and_borders_apart():
    a, b = np.array([1, 2, 3], np.int32), np.array([4], np.int32)
    keys = [
        data_key([a, b]),
        data_key([b, a]),
        data_key([a, b], [b, a]),
        data_key([np.array([1, 2, 3, 4], np.int32)]),
    ]
    assert len(set(keys)) == 4
    assert data_key([a.copy(), b]) == keys[0]


def test_a_teacher_has_to_beat_the_most_frequent_label_by_more_than_a_point():
    labels = [0] * 60 + [1] * 40
    assert check_score(0.62, labels) is None
    with pytest.raises(UserError, match=r"accuracy is 61\.0 %, the most frequent label's 60\.0 %"):
        check_score(0.61, labels)
    assert "60.0 %" in check_score(0.5, labels, force=True)
    assert "was not checked" in check_score(0.5, [])


def test_other_widths_are_refused_with_both_sizes():
    check_widths(384, 384)
    with pytest.raises(UserError, match=r"hidden size is 768, the student's 384; .* --loss\.no-fic"):
        check_widths(768, 384)
