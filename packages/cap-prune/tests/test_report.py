"""What the report counts: against torch's own counter, by hand, and against the dense model."""

import json

import pytest
import torch
from safetensors import safe_open
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForQuestionAnswering,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForQuestionAnswering,
    ElectraForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from cap_prune import toy
from cap_prune.architectures import parts_of, units_of
from cap_prune.layer_counts import disk_bytes, layer_counts, memory_bytes, parameters, two_of_four
from cap_prune.model_report import DENSE, OURS, dense_twin, report
from cap_prune.operations import macs
from cap_prune.packing import csr_bytes, write_packed
from cap_prune.remarks import remarks
from cap_prune.report_page import layer_rows, write_page
from cap_prune.slimming import slim
from cap_prune.units import Units
from nonet.errors import UserError

SMALL = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "attn_implementation": "eager",
}  # fmt: skip
DISTIL = {"vocab_size": 50, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}
KEEP = Units(((0,), ()), ((1, 2, 3), ()), 4, 48)
MODELS = [
    (BertForSequenceClassification, lambda: BertConfig(**SMALL)),
    (BertForQuestionAnswering, lambda: BertConfig(**SMALL)),
    (BertModel, lambda: BertConfig(**SMALL)),
    (RobertaForSequenceClassification, lambda: RobertaConfig(**SMALL)),
    (ElectraForSequenceClassification, lambda: ElectraConfig(**SMALL, embedding_size=16)),
    (ElectraForQuestionAnswering, lambda: ElectraConfig(**SMALL, embedding_size=16)),
    (DistilBertForSequenceClassification, lambda: DistilBertConfig(**DISTIL, attn_implementation="eager")),
    (DistilBertForQuestionAnswering, lambda: DistilBertConfig(**DISTIL, attn_implementation="eager")),
]


def counted(model, length):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=torch.ones(1, length, dtype=torch.long))
    return counter.get_total_flops() / 2


@pytest.mark.parametrize(("kind", "config"), MODELS, ids=[kind.__name__ for kind, _ in MODELS])
def test_operations_are_those_that_torch_counts_dense_and_slim(kind, config):
    model = kind(config()).eval()
    assert macs(model, 7) == counted(model, 7)
    before = macs(model, 7)
    slim(model, KEEP)
    assert macs(model, 7) == counted(model, 7) < before


def test_a_slim_model_is_compared_with_the_dense_one_it_came_from():
    dense, small = toy.new_bert(), toy.new_bert()
    slim(small, Units(((0, 3), (1,)), ((5,), tuple(range(64))), 4, 64))
    was, counts = parameters(dense), parameters(small)
    assert was.whole == was.dense == sum(each.numel() for each in dense.parameters())
    assert (counts.dense, counts.dense_encoder) == (was.whole, was.encoder)
    assert counts.whole == sum(each.numel() for each in small.parameters()) == counts.nonzero
    assert counts.embeddings + counts.encoder + counts.rest == counts.whole
    first, second = layer_counts(small, 9)
    assert (first.heads, first.neurons, second.heads, second.neurons) == (2, 1, 1, 64)
    assert first.weights == 32 * (4 * 8 * 2 + 2 * 1)  # hidden times (four of two heads of size 8, one neuron)
    assert first.dense_weights == sum(part.weight.numel() for part in parts_of(dense)[0].matrices.values())
    assert [each.dense_macs for each in (first, second)] == [each.macs for each in layer_counts(dense, 9)]
    assert first.sparsity == pytest.approx(1 - 2112 / 8192)


def test_zeros_are_counted_as_gone_from_the_weights_but_not_from_the_operations():
    model = toy.new_bert()
    with torch.no_grad():
        parts_of(model)[0].query.weight[:16] = 0  # 16 rows of 32 inputs
        parts_of(model)[0].query.bias.zero_()  # a bias of 0 is not pruned
    before, now = parameters(toy.new_bert()), parameters(model)
    assert before.nonzero - now.nonzero == before.nonzero_encoder - now.nonzero_encoder == 512
    assert now.remaining == pytest.approx(1 - 512 / before.encoder)
    assert layer_counts(model, 5)[0].nonzero == 8192 - 512
    assert macs(model, 5) == macs(toy.new_bert(), 5)


def two_in_four(model):
    with torch.no_grad():
        for parts in parts_of(model):
            for part in parts.matrices.values():
                part.weight.view(-1, 4)[:, :2] = 0
    return model


def test_a_pattern_is_recognised_and_broken_by_one_weight_more():
    model = toy.new_bert()
    assert not two_of_four(model)
    assert two_of_four(two_in_four(model))
    with torch.no_grad():
        parts_of(model)[1].output.weight[0, 0] = 1.0
    assert not two_of_four(model)


def told(model, **more):
    facts = {"pattern": two_of_four(model), "device": "cpu", "dtype_bytes": 4, "batch": 1, "length": 8} | more
    return " ".join(remarks(layer_counts(model, 8), **facts))


def test_remarks_say_where_sparsity_is_no_speed():
    assert "Nothing is pruned" in told(toy.new_bert())
    model = two_in_four(toy.new_bert())
    text = told(model)
    assert "50.0% of the weights" in text
    assert "no speed here" in text
    assert "no speed-up on this device" in text
    # by hand: 8,192 weights a layer, half of them in 2 + 2 bytes, starts of 230 rows: 1 + 920 / 16,384
    assert "would take 1.06 times their bytes: too few zeros" in told(two_in_four(toy.new_bert()).half())
    assert "sparse tensor cores can use it after cap_prune.use_sparse_kernels." in told(
        model, device="cuda", dtype_bytes=2
    )
    assert "fp16 or bf16, which this model is not" in told(model, device="cuda")
    small = toy.new_bert()
    slim(small, Units(((), (1,)), ((1,), ()), 4, 64))
    text = told(small, speed_up=(1.2, 0.9, 1.4))
    assert "really gone" in text
    assert "No head is left in layer 0" in text
    assert "No neuron is left in layer 1" in text
    assert "no gain is shown: the range reaches down to 0.90" in text
    assert "zeros" not in text


@pytest.mark.parametrize("pruned", [False, True])
def test_the_size_of_compressed_rows_is_that_of_an_export(pruned, tmp_path):
    model = two_in_four(toy.new_bert())
    if pruned:
        slim(model, Units(((), (1,)), ((1,), ()), 4, 64))
    write_packed(model, tmp_path, "csr")
    written = 0
    with safe_open(tmp_path / "packed.safetensors", framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 (not a mapping)
            if name.endswith((".values", ".columns", ".starts")):
                each = file.get_tensor(name)
                written += each.numel() * each.element_size()
    layers = layer_counts(model, 8)
    whole = sum(part.weight.nbytes for parts in parts_of(model) for part in parts.matrices.values())
    assert written == sum(each.csr_bytes for each in layers)
    assert whole == sum(each.bytes for each in layers)
    assert f"the matrices take {written / whole:.2f} times their bytes on disk" in told(model)


def test_columns_of_a_wide_matrix_take_four_bytes():
    weight = torch.zeros(2, 2**16 + 1)
    weight[1, 5] = 1
    assert csr_bytes(weight) == 4 + 4 + 3 * 4
    assert csr_bytes(weight[:, 1:]) == 4 + 2 + 3 * 4


def test_the_dense_twin_has_all_units_and_draws_nothing_from_the_callers_numbers():
    model = toy.new_bert()
    slim(model, Units(((0,), (1,)), ((1,), (2,)), 4, 64))
    before = torch.get_rng_state()
    twin = dense_twin(model)
    assert torch.equal(before, torch.get_rng_state())
    assert units_of(twin).whole
    assert type(twin) is BertForSequenceClassification
    assert sum(each.numel() for each in twin.parameters()) == parameters(model).dense


def test_the_report_is_json_and_its_page_has_pictures(tmp_path):
    model = toy.new_bert()
    slim(model, Units(((0,), (1, 2)), ((1, 2), (2,)), 4, 64))
    (tmp_path / "model.safetensors").write_bytes(b"12345")
    (tmp_path / "config.json").write_bytes(b"{}")
    found = report(model, folder=tmp_path, batch=2, length=8, rounds=2, threads=1)
    assert json.loads(json.dumps(found)) == found
    assert (found["heads"], found["neurons"]) == ({"live": 3, "of": 8}, {"live": 3, "of": 128})
    assert (
        (found["bytes"]["weights on disk"], found["bytes"]["folder on disk"])
        == (5, 7)
        == disk_bytes(tmp_path)
    )
    assert found["bytes"]["in memory"] == memory_bytes(model) >= 4 * found["parameters"]["whole"]
    assert set(found["latency"]["ms"]) == {OURS, DENSE}
    assert found["latency"]["ms"][OURS]["median"] > 0
    assert [row["heads"] for row in layer_rows(found)] == ["1/4", "2/4"]
    page = write_page(found, "toy <b>", tmp_path / "page.html").read_text()
    assert page.count("<svg") == 5
    assert "toy &lt;b&gt;" in page
    assert report(model, measure=False)["latency"] is None


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(UserError, match="length 65 is more than the 64 positions"):
        report(toy.new_bert(), length=65)
    with pytest.raises(UserError, match="cannot be pruned; supported: bert"):
        report(torch.nn.Linear(2, 2))
