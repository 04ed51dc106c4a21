"""Finished models of others: their own format of the source, their labels in any order."""

import json

import pytest
import torch
from transformers import BertConfig, BertForTokenClassification

from keyphrase_plm.decoding_options import DecodeOptions
from keyphrase_plm.loading import load_family
from keyphrase_plm.predicting import predict
from keyphrase_plm.ready_checkpoints import label_order, tagger
from keyphrase_plm.seq2seq import Seq2Seq
from keyphrase_plm.sequences import source_text
from keyphrase_plm.tagger import Tagger
from keyphrase_plm.toy import corpus
from keyphrase_plm.vocabulary import train_vocabulary
from nonet.errors import UserError
from nonet.testing import call_cli

DOCUMENTS = corpus(6, 1)


def vocabulary(kind):
    return train_vocabulary([source_text(each) for each in corpus(40)], 320, kind=kind)


@pytest.fixture(scope="module")
def bart(tmp_path_factory):
    """A BART as others publish it: without our note."""
    folder = tmp_path_factory.mktemp("hub") / "bart"
    family = Seq2Seq.tiny(vocabulary("bpe"), seed=2)
    family.model.save_pretrained(folder)
    family.tokenizer.save_pretrained(folder)
    return folder


def test_a_writer_is_read_with_its_own_mark_between_title_and_body(bart, tmp_path):
    with pytest.raises(UserError, match="no keyphrase model yet"):
        load_family(bart)
    done = call_cli(
        "keyphrase-plm", "convert", "--source", bart, "--out", "taken", "--between", "<s>",
        "--max-target", 20,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    family = load_family(tmp_path / "taken")
    row = family.encode(DOCUMENTS[0], gold=False)
    text = f"{DOCUMENTS[0].title} <s> {DOCUMENTS[0].body}"
    assert row["source"].tolist() == family.tokenizer(text)["input_ids"]
    found = list(predict(family, DOCUMENTS, DecodeOptions()))
    assert [each.id for each in found] == [each.id for each in DOCUMENTS]
    again = call_cli("keyphrase-plm", "convert", "--source", bart, "--out", "taken", cwd=tmp_path)
    assert again.returncode == 2
    assert "is there already" in again.stderr


@pytest.mark.parametrize("labels", [("B-KEY", "I-KEY", "O"), ("O", "I", "B"), ("O", "B", "I")])
def test_a_token_classifier_keeps_what_it_says_whatever_the_order_of_its_labels(labels, tmp_path):
    tokenizer = vocabulary("wordpiece")
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(labels)), label2id={name: at for at, name in enumerate(labels)},
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = BertForTokenClassification(config).eval()
    torch.nn.init.normal_(theirs.classifier.weight, std=2.0)
    torch.nn.init.normal_(theirs.classifier.bias)
    theirs.save_pretrained(tmp_path / "hub")
    tokenizer.save_pretrained(tmp_path / "hub")
    family = tagger(str(tmp_path / "hub"))
    assert isinstance(family, Tagger)
    batch = family.collate([family.encode(each, gold=False) for each in DOCUMENTS])
    with torch.inference_mode():
        said = family.scores(batch).argmax(-1)
        raw = theirs(input_ids=batch["ids"], attention_mask=batch["mask"]).logits
    first = raw.gather(1, batch["first"][:, :, None].expand(-1, -1, 3)).argmax(-1)
    ours = [["O", "B", "I"][at] for at in said[batch["words"]].tolist()]
    assert ours == [labels[at][0] for at in first[batch["words"]].tolist()]
    assert len(set(ours)) > 1


@pytest.mark.parametrize("labels", [{0: "O", 1: "B"}, {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}])
def test_other_labels_are_refused_by_name(labels):
    with pytest.raises(UserError, match=f"the labels are {', '.join(labels.values())}"):
        label_order("model", labels)


def test_the_note_says_the_mark(bart, tmp_path):
    from keyphrase_plm.ready_checkpoints import writer

    writer(str(bart), between=".", prefix="keyphrases: ", max_source=None, max_target=16).save(tmp_path / "m")
    note = json.loads((tmp_path / "m" / "keyphrase.json").read_text())
    assert {
        "between": ".",
        "prefix": "keyphrases: ",
        "max_source": 128,
        "max_target": 16,
    }.items() <= note.items()
