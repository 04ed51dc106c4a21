"""Exported models are read by transformers and onnxruntime, which know nothing of this package."""

import numpy as np
import pytest
import torch
import transformers

from keyphrase_plm.bert2bert import Bert2Bert
from keyphrase_plm.exporting import CLASSES, export_onnx, export_plain
from keyphrase_plm.prefix_family import PrefixLM
from keyphrase_plm.prefix_options import PrefixOptions
from keyphrase_plm.seq2seq import Seq2Seq
from keyphrase_plm.sequences import source_text
from keyphrase_plm.tagger import Tagger
from keyphrase_plm.toy import corpus
from keyphrase_plm.vocabulary import train_vocabulary
from nonet.errors import UserError
from nonet.testing import call_cli


@pytest.fixture(scope="module")
def tokenizers():
    texts = [source_text(each) for each in corpus(60)]
    return {kind: train_vocabulary(texts, 300, kind=kind) for kind in ("wordpiece", "bpe")}


def made(family, tokenizers):
    tokenizer = tokenizers["bpe" if family == "seq2seq" else "wordpiece"]
    if family == "prefix-lm":
        return PrefixLM.tiny(tokenizer, seed=0, options=PrefixOptions(max_source=64, max_target=16))
    kind = {"tag": Tagger, "crf": Tagger, "seq2seq": Seq2Seq, "b2b": Bert2Bert}[family]
    return kind.tiny(tokenizer, seed=0, **({"crf": True} if family == "crf" else {}))


@pytest.mark.parametrize("family", ["tag", "crf", "seq2seq", "b2b", "prefix-lm"])
def test_a_plain_folder_gives_the_same_numbers_in_transformers_alone(tokenizers, tmp_path, family):
    ours = made(family, tokenizers).eval()
    notes = export_plain(ours, tmp_path / "plain", "card")
    theirs = getattr(transformers, CLASSES[ours.name]).from_pretrained(tmp_path / "plain").eval()
    ids = torch.arange(12).view(2, 6)
    more = {"decoder_input_ids": ids[:, :3]} if family in ("seq2seq", "b2b") else {}
    with torch.inference_mode():
        torch.testing.assert_close(
            theirs(input_ids=ids, **more).logits, ours.model(input_ids=ids, **more).logits, rtol=0, atol=1e-5
        )
    assert len(transformers.AutoTokenizer.from_pretrained(tmp_path / "plain")) == len(ours.tokenizer)
    left = " ".join(notes)
    assert ("left behind" in left) == (family in ("crf", "prefix-lm"))


@pytest.mark.slow
def test_onnx_gives_the_same_labels_for_any_batch_and_length(tokenizers, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    ours = made("tag", tokenizers).eval()
    export_onnx(ours, tmp_path / "tagger.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "tagger.onnx"), providers=["CPUExecutionProvider"])
    for rows, pieces in ((1, 3), (4, 17)):
        ids = torch.randint(
            5, len(ours.tokenizer), (rows, pieces), generator=torch.Generator().manual_seed(0)
        )
        mask = torch.ones_like(ids)
        found = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
        with torch.inference_mode():
            wanted = ours.model(input_ids=ids, attention_mask=mask).logits.numpy()
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_onnx_is_for_taggers(tokenizers, tmp_path):
    with pytest.raises(UserError, match="family seq2seq; ONNX is for taggers"):
        export_onnx(made("seq2seq", tokenizers), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_the_command(tokenizers, tmp_path):
    made("tag", tokenizers).save(tmp_path / "model")
    done = call_cli("keyphrase-plm", "export", "--model", "model", "--out", "plain", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "AutoModelForTokenClassification" in (tmp_path / "plain" / "README.md").read_text(encoding="utf-8")
    wrong = call_cli(
        "keyphrase-plm", "export", "--model", "model", "--out", "x", "--format", "onnx", cwd=tmp_path
    )
    assert wrong.returncode == 2
    assert "ends in .onnx" in wrong.stderr
