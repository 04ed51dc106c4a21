"""Sparse kernels against the same weights multiplied densely."""

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from cap_prune.architectures import parts_of
from cap_prune.patterns import Neighbours
from cap_prune.semi_structured import use_sparse_kernels
from nonet.errors import UserError
from nonet.testing import needs, whole


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


def test_elsewhere_it_is_said_that_there_is_no_speed_up():
    with pytest.raises(UserError, match=r"no speed-up on this device: 2:4 needs a GPU .* on cpu in float32"):
        use_sparse_kernels(two_of_four())
