"""Checkpoints in the names of the released code, old and new, against the model that they were made of."""

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForPreTraining

from nonet.cli import main
from nonet.errors import UserError
from nonet.testing import one_thread
from prop_ir.checkpoints import convert, load_vocabulary, read_original
from prop_ir.cli import VERBS
from prop_ir.model import HEAD_FILE, load_prop, load_ranker
from prop_ir.pieces import load_tokenizer
from prop_ir.store import Store
from prop_ir.toy import write_encoder

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a b the 0 storm fire flood ##s".split()
SHAPE = {
    "vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
    "intermediate_size": 24, "max_position_embeddings": 32, "initializer_range": 0.3,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def model():
    """BERT with its masked-word head, and a linear layer on the pooled output, as in the released code."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForPreTraining(BertConfig(**SHAPE)).eval()
        model.rank = torch.nn.Linear(16, 1)
        for weight in model.parameters():
            weight.data.add_(0.1 * torch.randn(weight.shape))
    return model


def current(model):
    """The names at the head of the repository."""
    names = {
        name: value
        for name, value in model.state_dict().items()
        if not name.startswith(("cls.seq_relationship", "rank."))
    }
    return names | {"cls.weight": model.rank.weight, "cls.bias": model.rank.bias}


def early(model):
    """The names of the first release, trained on several GPUs, with the names that BERT's first code had."""
    found = {}
    for name, value in current(model).items():
        name = name.replace("cls.predictions.", "predictions.")
        name = name.replace("cls.weight", "rep.weight").replace("cls.bias", "rep.bias")
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        found[f"module.{name}"] = value
    return found | {"module.bert.embeddings.position_ids": torch.arange(32)[None]}


def write(folder, tensors, *, form="bin", config=None):
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().clone() for name, value in tensors.items()}
    if form == "bin":
        torch.save(tensors, folder / "pytorch_model.bin")
    elif form == "nested":
        torch.save({"state_dict": tensors, "epoch": 3}, folder / "pytorch_model.bin")
    else:
        save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config or SHAPE))  # old ones name no model_type
    (folder / "vocab.txt").write_text("".join(word + "\n" for word in WORDS))
    return folder


def command(*words):
    return main("prop-ir", "about", "0", VERBS, argv=["convert", *map(str, words)])


def batch():
    ids = torch.tensor([[2, 9, 3, 10, 11, 12, 3], [2, 5, 6, 3, 7, 3, 0]])
    segments = torch.tensor([[0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 0]])
    return {
        "input_ids": ids, "token_type_ids": segments, "attention_mask": (ids > 0).long(),
        "masked": torch.tensor([3, 4, 11]),
    }  # fmt: skip


# ----------------------------------------------------------- names


@pytest.mark.parametrize(
    ("names", "form"), [(current, "safetensors"), (current, "bin"), (early, "bin"), (early, "nested")]
)
def test_a_checkpoint_computes_what_it_did_whatever_its_names(model, names, form, tmp_path, capsys):
    source = write(tmp_path / "source", names(model), form=form)
    assert command("--source", source, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "ranking head        its own" in printed
    assert "masked-word head    its own" in printed
    ours, tokenizer = load_prop(tmp_path / "out", head="require", say=pytest.fail)
    given = batch()
    plain = {name: value for name, value in given.items() if name != "masked"}
    with torch.no_grad():
        out = ours.eval()(given)
        pooled = model.bert(**plain).pooler_output
        torch.testing.assert_close(out["scores"], model.rank(pooled)[:, 0])
        weight, bias = ours.decoder()
        wanted = model(**plain).prediction_logits.flatten(0, 1)[given["masked"]]
        torch.testing.assert_close(out["hidden"] @ weight.T + bias, wanted, rtol=1e-5, atol=1e-5)
    assert tokenizer("storm", "fires")["input_ids"] == [2, 9, 3, 10, 12, 3]
    assert tokenizer.model_max_length == 32  # a bare vocab.txt knows no limit
    assert (tmp_path / "out" / "README.md").read_text().count("source") >= 1


def test_the_account_says_what_was_renamed(model, tmp_path):
    original = read_original(write(tmp_path, early(model)))
    assert original.renamed == {
        "module. taken away": len(early(model)),
        "gamma is weight": 8, "beta is bias": 8,
        "ranking head is classifier": 2,
        "predictions. is cls.predictions.": 7,
    }  # fmt: skip
    assert original.left == ("bert.embeddings.position_ids",)
    said = []
    converted = convert(original, say=said.append)
    total = converted.account.matched
    assert said == [
        f"matched       {total:>4} of {total}\nmissing          0\nunexpected       0\nother shape      0"
    ]


def test_the_next_sentence_head_of_plain_bert_is_left_out(model, tmp_path):
    plain = {name: value for name, value in model.state_dict().items() if not name.startswith("rank.")}
    original = read_original(write(tmp_path, plain))
    assert original.left == ("cls.seq_relationship.bias", "cls.seq_relationship.weight")


# ----------------------------------------------------------- heads that are not there


def test_without_a_ranking_head_the_folder_has_none_either(model, tmp_path, capsys):
    tensors = {name: v for name, v in current(model).items() if name not in ("cls.weight", "cls.bias")}
    assert command("--source", write(tmp_path / "source", tensors), "--out", tmp_path / "out") == 0
    assert "scores would be random: fine-tune it" in capsys.readouterr().out
    assert "classifier.weight" not in load_file(tmp_path / "out" / "model.safetensors")
    with pytest.raises(UserError, match="has no ranking head"):
        load_ranker(tmp_path / "out", head="require", say=lambda _: None)
    said = []
    load_prop(tmp_path / "out", say=said.append)
    assert len(said) == 1


def test_without_a_masked_word_head_none_is_written(model, tmp_path):
    tensors = {name: v for name, v in current(model).items() if not name.startswith("cls.predictions")}
    assert command("--source", write(tmp_path / "source", tensors), "--out", tmp_path / "out") == 0
    assert not (tmp_path / "out" / HEAD_FILE).exists()
    load_ranker(tmp_path / "out", head="require", say=pytest.fail)


# ----------------------------------------------------------- refusals


def strange(model):
    return {f"other.{name}": value for name, value in current(model).items()}


def untied(model):
    return current(model) | {"cls.predictions.decoder.weight": torch.zeros(len(WORDS), 16)}


def twice(model):
    return current(model) | {"rep.weight": torch.zeros(1, 16)}


def other_shape(model):
    return current(model) | {"cls.weight": torch.zeros(2, 16)}


def without_a_layer(model):
    dropped = "bert.encoder.layer.1.output.dense.weight"
    return {name: value for name, value in current(model).items() if name != dropped}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (strange, "the weights do not fit the model"),
        (untied, "decoder.weight differs from bert.embeddings.word_embeddings.weight"),
        (twice, "two weights come to be classifier.weight; the second is rep.weight"),
        (other_shape, r"classifier.weight has the shape \(2, 16\), the configuration wants \(1, 16\)"),
        (without_a_layer, "lacks bert.encoder.layer.1.output.dense.weight, a weight of the encoder"),
    ],
)
def test_weights_that_do_not_fit_are_refused(model, names, message, tmp_path):
    with pytest.raises(UserError, match=message):
        convert(read_original(write(tmp_path, names(model))), say=lambda _: None)


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_broken_sources_are_refused_and_nothing_is_written(model, tmp_path, capsys):
    good = write(tmp_path / "good", current(model))
    cases = {
        "none does not exist": tmp_path / "none",
        "neither model.safetensors nor pytorch_model.bin": write(tmp_path / "empty", {}),
        "a model of type 'gpt2'": write(tmp_path / "gpt2", {}, config={"model_type": "gpt2"}),
        "no weights can be read from it": write(tmp_path / "code", {}),
        "neither config.json nor bert_config.json": write(tmp_path / "bare", current(model)),
        "no vocab.txt or tokenizer.json": write(tmp_path / "mute", current(model)),
        "the tokenizer has 13 pieces and the model 12": write(
            tmp_path / "small",
            {n: v[:12] if v.shape[:1] == (13,) else v for n, v in current(model).items()},
            config=SHAPE | {"vocab_size": 12},
        ),
    }
    (tmp_path / "empty" / "pytorch_model.bin").unlink()
    (tmp_path / "code" / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Evil()}, protocol=2))
    (tmp_path / "bare" / "config.json").unlink()
    (tmp_path / "mute" / "vocab.txt").unlink()
    for message, source in cases.items():
        assert command("--source", source, "--out", tmp_path / "out") == 2, message
        shown = capsys.readouterr()
        assert message in shown.err
        assert shown.err.count("\n") == 1
        assert "run" not in shown.out.split()
        assert not (tmp_path / "out").exists()
    assert command("--source", good, "--out", tmp_path / "out") == 0
    capsys.readouterr()
    assert command("--source", good, "--out", tmp_path / "out") == 2
    assert "exists already" in capsys.readouterr().err
    assert command("--source", good / "pytorch_model.bin", "--out", tmp_path / "out", "--overwrite") == 0


# ----------------------------------------------------------- intermediate files


def test_intermediate_files_become_a_store(tmp_path, capsys):
    encoder = write_encoder(tmp_path / "encoder", layers=1, width=8, heads=1)
    tokenizer = load_tokenizer(encoder)
    texts = {"D1": "storm wind storm gale", "D2": "fire smoke"}
    folder = tmp_path / "info"
    folder.mkdir()
    with (
        open(folder / "bert_tokenized_docs.json", "w") as pieces,
        open(folder / "doc_tf_file.json", "w") as tf,
    ):
        for name, text in texts.items():
            counts = {word: text.split().count(word) for word in text.split()}
            pieces.write(json.dumps({"id": name, "contents": tokenizer.tokenize(text)}) + "\n")
            tf.write(json.dumps({"id": name, "tf": counts, "word_num": len(text.split())}) + "\n")
    assert command("--source", folder, "--out", tmp_path / "store") == 2
    assert "name the tokenizer that its pieces are from" in capsys.readouterr().err
    assert command("--source", folder, "--out", tmp_path / "store", "--tokenizer", encoder) == 0
    store = Store(tmp_path / "store")
    assert store.ids == ["D1", "D2"]
    assert np.asarray(store.word_counts).tolist() == [4, 2]
    assert "2 documents, 5 types, 6 words" in capsys.readouterr().out


def test_a_tokenizer_of_its_own_is_taken(tmp_path):
    encoder = write_encoder(tmp_path / "encoder", layers=1, width=8, heads=1)
    assert len(load_vocabulary(encoder, 10_000)) == len(load_tokenizer(encoder))
