"""Attention weights against transformers' own, written out in full."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModel,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ModernBertConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

import prop_ir.attention
from nonet.errors import UserError
from nonet.testing import one_thread
from prop_ir.attention import FirstRow, PieceWords, weigh_words
from prop_ir.building import build_store
from prop_ir.commands import bprop_attn
from prop_ir.contrastive_terms import ContrastiveTerms
from prop_ir.documents import Document
from prop_ir.options import SamplerOptions
from prop_ir.pieces import load_tokenizer
from prop_ir.word_sets import PairSampler

NOUNS = "cat house river stone bridge water lamp train letter garden window market".split()
SIZE = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
        "intermediate_size": 64, "max_position_embeddings": 64}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def save(config, folder, spread=1.0):
    """A random model with attention that differs from piece to piece."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModel.from_config(config)
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and "embed" not in name:
                torch.nn.init.normal_(weight, std=spread * weight.shape[1] ** -0.5)
    model.save_pretrained(folder)
    return AutoModel.from_pretrained(folder, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a random BERT and its tokenizer, and the model as transformers loads it."""
    folder = tmp_path_factory.mktemp("model")
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,'", *letters, *(f"##{c}" for c in letters)]
    pieces += ["the", *NOUNS[:6]]
    numbers = {piece: i for i, piece in enumerate(pieces)}
    backend = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=backend, **special, mask_token="[MASK]").save_pretrained(folder)
    return folder, save(BertConfig(**SIZE | {"vocab_size": len(pieces)}), folder)


@pytest.fixture(scope="module")
def store(model, tmp_path_factory):
    rng = np.random.default_rng(0)
    texts = [
        "The " + " ".join(rng.choice(NOUNS, rng.integers(14, 40))) + ", don't 7 cats." for _ in range(30)
    ]
    documents = (Document(f"D{i}", text, f"made-up:{i}") for i, text in enumerate(texts))
    folder = tmp_path_factory.mktemp("store") / "store"
    return build_store(documents, load_tokenizer(model[0]), folder, max_pieces=80)[0]


CONFIGS = {
    "bert": BertConfig(**SIZE),
    "roberta": RobertaConfig(**SIZE),
    "distilbert": DistilBertConfig(
        vocab_size=100, dim=32, n_layers=3, n_heads=4, hidden_dim=64, max_position_embeddings=64
    ),
    "modernbert": ModernBertConfig(
        **SIZE, pad_token_id=0, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3,
        local_attention=8, global_attn_every_n_layers=2,
    ),
    "deberta": DebertaV2Config(
        **SIZE, relative_attention=True, pos_att_type=["p2c", "c2p"], position_biased_input=False
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_row_is_that_of_the_last_layers_attention(kind, tmp_path):
    theirs = save(CONFIGS[kind], tmp_path)
    rng = np.random.default_rng(1)
    ids, visible = rng.integers(5, 100, (3, 20)), np.ones((3, 20), np.int64)
    ids[1, 15:], visible[1, 15:], visible[2, 3:7] = theirs.config.pad_token_id, 0, 0
    ours = FirstRow(tmp_path, "cpu")
    assert ours.own == (kind != "deberta")
    row = ours(ids, visible)
    with torch.no_grad():
        out = theirs(torch.tensor(ids), attention_mask=torch.tensor(visible), output_attentions=True)
    assert np.abs(row - out.attentions[-1][:, :, 0].mean(1).numpy()).max() < 1e-6
    assert row.std() > 0.005
    assert row.sum(1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert row[visible == 0].max() == 0


@pytest.mark.parametrize("first_pieces", [True, False])
def test_weights_of_words_by_transformers_alone(model, store, tmp_path, first_pieces):
    folder, theirs = model
    weigh_words(store, str(folder), tmp_path / "w", max_length=40, batch=7, first_pieces=first_pieces)
    terms = ContrastiveTerms(tmp_path / "w")
    assert len(terms) == len(store)
    tokenizer = load_tokenizer(folder)
    seen = 0
    for row in range(len(store)):
        pieces = tokenizer.convert_ids_to_tokens(store.pieces(row)[:38].tolist())
        visible = [1] + [int(not (first_pieces and piece.startswith("##"))) for piece in pieces] + [1]
        ids = [2, *store.pieces(row)[:38].tolist(), 3]
        with torch.no_grad():
            out = theirs(torch.tensor([ids]), attention_mask=torch.tensor([visible]), output_attentions=True)
        attention = out.attentions[-1][0, :, 0].mean(0).tolist()
        words: list[tuple[str, float]] = []
        for place, piece in enumerate(pieces):
            if piece.startswith("##"):
                words[-1] = words[-1][0] + piece[2:], words[-1][1]
            else:
                words.append((piece, attention[1 + place]))
        if len(pieces) == 38:
            words.pop()  # it may be cut
        plain: dict[str, float] = {}
        for word, weight in words:
            if word in store.types:
                plain[word] = plain.get(word, 0) + weight
        types, weights, _ = terms.gather(np.array([row]))
        found = {store.types[t]: float(w) for t, w in zip(types, weights, strict=True)}
        assert found == pytest.approx(plain, abs=1e-6)
        assert "cats" in found or len(pieces) == 38
        seen += len(found)
    assert seen > 150


@pytest.mark.parametrize("decoder", [True, False])
def test_words_of_pieces(model, store, decoder):
    tokenizer = load_tokenizer(model[0])
    if decoder:
        tokenizer.backend_tokenizer.decoder = decoders.WordPiece()
    word = PieceWords(store, tokenizer)

    def number(text):
        return word(np.array(tokenizer(text, add_special_tokens=False)["input_ids"], np.uint16))

    assert [store.types[number(text)] for text in ("cat", "market", "Garden")] == ["cat", "market", "garden"]
    assert {number("the"), number("t"), number(","), number("7"), number("unseen")} == {-1}


def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(model, store, tmp_path, monkeypatch):
    monkeypatch.setattr(prop_ir.attention, "CHUNK", 8)
    monkeypatch.setattr(prop_ir.attention, "SHARD", 16)
    name = str(model[0])
    assert weigh_words(store, name, tmp_path / "whole", max_length=64, batch=5) == 0

    class Stop(Exception):
        pass

    done = 0

    def stop(documents):
        nonlocal done
        done += documents
        if done > 20:
            raise Stop

    with pytest.raises(Stop):
        weigh_words(store, name, tmp_path / "parts", max_length=64, batch=5, progress=stop)
    assert weigh_words(store, name, tmp_path / "parts", max_length=64, batch=5) == 16
    whole, parts = ({path.name: path.read_bytes() for path in (tmp_path / part).iterdir()}
                    for part in ("whole", "parts"))  # fmt: skip
    assert whole == parts
    assert weigh_words(store, name, tmp_path / "parts", max_length=64, batch=5) == 30
    with pytest.raises(UserError, match=r"parts: was begun with max_length = 64, not 40"):
        weigh_words(store, name, tmp_path / "parts", max_length=40, batch=5)


def test_the_command_weighs_and_the_sampler_draws(model, store, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("NONET_PROGRESS", "0")
    options = bprop_attn.Options(
        store=store.folder, model=str(model[0]), out=tmp_path / "w", device="cpu", max_length=64
    )
    assert bprop_attn.run(options) == 0
    assert bprop_attn.run(options) == 0
    assert "attention of 30 documents, 30 of them were done" in capsys.readouterr().out
    terms = ContrastiveTerms(tmp_path / "w")
    sampler = PairSampler(store, SamplerOptions("bprop", temperature=0.1), seed=0, terms=terms)
    batch = sampler.pairs(sampler.documents, 0, 5)
    assert len(batch) == 5 * len(sampler.documents) > 50
    for i in range(len(batch)):
        assert set(batch[i].positive) <= set(store.words(int(sampler.documents[i // 5])))


def test_mistakes_leave_no_folder(model, store, tmp_path):
    name = str(model[0])
    with pytest.raises(UserError, match="has 64 positions: give at most 64"):
        weigh_words(store, name, tmp_path / "w", max_length=128)
    with pytest.raises(UserError, match="max_length 2 leaves no room for a document"):
        weigh_words(store, name, tmp_path / "w", max_length=2)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match="other: holds other files"):
        weigh_words(store, name, tmp_path / "other", max_length=64)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    with pytest.raises(UserError, match="batch is 0; it is 1 or more"):
        bprop_attn.Options(store=tmp_path, model=name, out=tmp_path / "w", batch=0)


def test_another_tokenizer_is_refused(model, store, tmp_path):
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]").save_pretrained(tmp_path / "m")
    BertConfig(**SIZE).save_pretrained(tmp_path / "m")
    with pytest.raises(UserError, match="was made with another tokenizer"):
        weigh_words(store, str(tmp_path / "m"), tmp_path / "w")
    assert not (tmp_path / "w").exists()
