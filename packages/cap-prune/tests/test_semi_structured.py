"""Sparse kernels against the same weights multiplied densely."""

import json

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from cap_prune import toy
from cap_prune.architectures import parts_of
from cap_prune.bench import runners
from cap_prune.commands import bench
from cap_prune.patterns import Neighbours
from cap_prune.semi_structured import _compressed, use_sparse_kernels
from nonet.errors import UserError
from nonet.testing import needs, whole
from nonet.training.hub import save_folder


def two_of_four():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=256
    )
    model = BertForSequenceClassification(config).eval()
    for parts in parts_of(model):
        for part in parts.matrices.values():
            part.weight.data *= Neighbours(2, 4).choose(part.weight.data.abs(), 0.5)
    return model


@pytest.mark.gpu
@needs("cuda")
def test_sparse_kernels_give_what_the_masked_dense_matrices_give():
    model = two_of_four().to("cuda", torch.float16)
    parts_of(model)[0].query.weight.data.fill_(1)  # one that is not in the pattern
    ids = whole(50, 4, 16).cuda()
    with torch.inference_mode():
        wanted = model(input_ids=ids).logits
        assert use_sparse_kernels(model) == ["bert.encoder.layer.0.attention.self.query.weight"]
        found = model(input_ids=ids).logits
    assert torch.allclose(found, wanted, atol=2e-3)


@pytest.mark.parametrize("shape", [(0, 64), (64, 0), (0, 0)])
def test_a_matrix_of_a_layer_without_heads_or_neurons_stays_as_it_is(shape):
    assert _compressed(torch.zeros(shape)) is None


@pytest.mark.gpu
@needs("cuda")
def test_bench_times_a_2_4_model_in_sparse_kernels_beside_itself(tmp_path, capsys):
    folder = save_folder(two_of_four(), toy.tokenizer(), tmp_path / "model", "")
    options = bench.Options(
        models=(str(folder),), batch=(32,), length=(16,), rounds=1, device="cuda", dtype="fp16", sparse=True,
        out=tmp_path / "bench",
    )  # fmt: skip
    assert bench.run(options) == 0
    rows = json.loads((tmp_path / "bench" / "bench.json").read_text())["rows"]
    assert [row["model"] for row in rows] == [str(folder), f"{folder} (2:4 kernels)"]
    assert "12 of 12 matrices are in sparse kernels" in capsys.readouterr().err


def test_bench_compresses_what_fits_and_says_so(tmp_path, monkeypatch):
    """The kernels' place is taken by a list of what stays dense, as there is none of them on a CPU."""
    folder = str(save_folder(two_of_four(), toy.tokenizer(), tmp_path / "model", ""))
    said, seen = [], []
    for left, rows in ((1, [folder, f"{folder} (2:4 kernels)"]), (12, [folder])):
        monkeypatch.setattr(
            "cap_prune.semi_structured.use_sparse_kernels",
            lambda model, left=left: seen.append(model) or [""] * left,
        )
        found = runners([folder], "cpu", sparse=True, say=said.append)
        assert list(found) == rows
        assert found[folder].model is not seen[-1]
    assert said == [
        f"{folder}: 11 of 12 matrices are in sparse kernels in the row {folder} (2:4 kernels)",
        f"{folder}: none of its 12 matrices fits the sparse kernels; it is timed as it is alone",
    ]


def test_elsewhere_it_is_said_that_there_is_no_speed_up():
    with pytest.raises(UserError, match=r"no speed-up on this device: 2:4 needs a GPU .* on cpu in float32"):
        use_sparse_kernels(two_of_four())


def test_bench_refuses_sparse_kernels_on_a_cpu_in_one_line(tmp_path):
    folder = save_folder(two_of_four(), toy.tokenizer(), tmp_path / "model", "")
    options = bench.Options(models=(str(folder),), device="cpu", sparse=True)
    with pytest.raises(UserError, match=r"^no speed-up on this device: .* the model is on cpu in float32$"):
        bench.run(options)
