"""The vector of an example is what the paper's scripts take, for each architecture."""

import pytest
import torch
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from cap_prune.representations import encode, outputs
from nonet.testing import whole

SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}


def bert(kind=BertForSequenceClassification, **more):
    torch.manual_seed(0)
    return kind(BertConfig(**SIZES, **more)).eval()


def batch(B=3, L=7, lengths=(7, 4, 2)):
    mask = (torch.arange(L)[None] < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": whole(49, B, L) + 1, "attention_mask": mask, "index": torch.arange(B) + 5}


def inputs(batch):
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def one(vectors):
    return vectors / vectors.norm(dim=-1, keepdim=True)


def test_cls_of_a_bert_classifier_is_the_poolers_output():
    model = bert()
    found = outputs(model, batch(), "cls")
    assert torch.allclose(found.z, one(model.bert(**inputs(batch())).pooler_output), atol=1e-6)
    assert torch.equal(found.logits[0], model(**inputs(batch())).logits)
    assert not model.bert._forward_hooks
    assert not model.classifier._forward_pre_hooks


def test_in_training_cls_has_the_dropout_that_the_classifier_sees():
    model = bert(hidden_dropout_prob=0.5).train()
    found = outputs(model, batch(), "cls")
    dropped = found.z == 0
    assert 0 < dropped.sum() < dropped.numel()
    length = found.logits[0] / (found.z @ model.classifier.weight.T)  # the bias is 0: logits are a multiple
    assert torch.allclose(length[:, 0], length[:, 1], rtol=1e-3)


def test_mean_pooling_is_the_mean_over_pieces_that_are_no_padding():
    model = bert()
    data = batch()
    hidden = model.bert(**inputs(data)).last_hidden_state
    rows = [hidden[row, :length].mean(0) for row, length in enumerate((7, 4, 2))]
    found = outputs(model, data, "mean-pooling").z
    assert torch.allclose(found, one(torch.stack(rows)), atol=1e-6)
    shorter = {name: value[1:2, :4] if value.ndim == 2 else value[1:2] for name, value in data.items()}
    assert torch.allclose(outputs(model, shorter, "mean-pooling").z, found[1:2], atol=1e-5)


def test_cls_of_question_answering_is_the_last_layers_first_vector():
    model = bert(BertForQuestionAnswering)
    found = outputs(model, batch(), "cls")
    assert torch.allclose(found.z, one(model.bert(**inputs(batch())).last_hidden_state[:, 0]), atol=1e-6)
    answer = model(**inputs(batch()))
    assert torch.equal(found.logits[0], answer.start_logits)
    assert torch.equal(found.logits[1], answer.end_logits)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (RobertaForSequenceClassification, RobertaConfig),
        (ElectraForSequenceClassification, ElectraConfig),
        (DistilBertForSequenceClassification, DistilBertConfig),
    ],
)
def test_without_a_pooler_cls_is_the_last_layers_first_vector(kind, config):
    torch.manual_seed(0)
    model = kind(config(**SIZES, dim=16, n_layers=2, n_heads=2, hidden_dim=24)).eval()
    hidden = model.base_model(**inputs(batch()))[0]
    assert torch.allclose(outputs(model, batch(), "cls").z, one(hidden[:, 0]), atol=1e-6)


def test_encoding_is_without_dropout_and_gives_the_model_its_mode_back():
    model = bert(hidden_dropout_prob=0.5).train()
    first, second = (list(encode(model, [batch(), batch()], "mean-pooling")) for _ in range(2))
    assert model.training
    for (index, z), (_, again) in zip(first, second, strict=True):
        assert index.tolist() == [5, 6, 7]
        assert torch.equal(z, again)
        assert not z.requires_grad
        assert z.norm(dim=1).tolist() == pytest.approx([1] * 3, abs=1e-6)
