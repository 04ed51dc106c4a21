"""The loader of SciBART's SentencePiece file: fairseq's ids, and what is refused."""

import io

import pytest
import sentencepiece

from keyphrase_plm.scibart_tokenizer import PROBES, load_scibart_tokenizer
from keyphrase_plm.sequences import source_text
from keyphrase_plm.toy import corpus
from nonet.errors import UserError

TEXTS = [*(source_text(document) for document in corpus(200)), *PROBES * 5]


def trained(path, kind="unigram", **more):
    made = io.BytesIO()
    sentencepiece.set_random_generator_seed(0)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=made, vocab_size=150, model_type=kind, minloglevel=2,
        num_threads=1, hard_vocab_limit=False, **more,
    )  # fmt: skip
    path.write_bytes(made.getvalue())
    return path, sentencepiece.SentencePieceProcessor(model_file=str(path))


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_ids_are_the_files_own_moved_by_one(kind, tmp_path):
    path, processor = trained(tmp_path / "sp.model", kind)
    tokenizer = load_scibart_tokenizer(path)
    assert tokenizer.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>"]) == [0, 1, 2, 3]
    assert tokenizer.mask_token_id == len(tokenizer) - 1 == processor.get_piece_size() + 1
    for text in TEXTS:
        own = processor.encode(text)
        assert tokenizer(text)["input_ids"] == [0, *(i + 1 if i > 2 else 3 for i in own), 2]
    assert tokenizer.decode(tokenizer(TEXTS[0])["input_ids"], skip_special_tokens=True) == TEXTS[0]


def test_a_model_with_other_embeddings_is_refused(tmp_path):
    path, processor = trained(tmp_path / "sp.model")
    length = processor.get_piece_size() + 2
    assert len(load_scibart_tokenizer(path, vocab_size=length)) == length
    for size in (length - 1, length + 1000):
        with pytest.raises(UserError, match=f"{length} pieces with the special ones, but the model has"):
            load_scibart_tokenizer(path, vocab_size=size)


def test_files_of_another_layout_are_refused(tmp_path):
    path, _ = trained(tmp_path / "t5.model", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    with pytest.raises(UserError, match="begins with <pad> </s> <unk>, but fairseq's offset is for"):
        load_scibart_tokenizer(path)
    (tmp_path / "bad.model").write_bytes(b"no model")
    for name in ("bad.model", "missing.model"):
        with pytest.raises(UserError, match=f"{name}: cannot be read as a SentencePiece model"):
            load_scibart_tokenizer(tmp_path / name)


def test_a_folder_with_the_file_alone_is_trained_from_and_saved_for_transformers(tmp_path):
    from transformers import AutoTokenizer

    from keyphrase_plm.seq2seq import Seq2Seq
    from keyphrase_plm.seq2seq_options import Seq2SeqOptions
    from keyphrase_plm.small_models import new_bart

    (tmp_path / "scibart").mkdir()
    path, _ = trained(tmp_path / "scibart" / "sentencepiece.bpe.model")
    tokenizer = load_scibart_tokenizer(path)
    model = new_bart(len(tokenizer), tokenizer, layers=1, width=16, heads=2, positions=64)
    model.save_pretrained(tmp_path / "scibart")
    family = Seq2Seq.create(str(tmp_path / "scibart"), Seq2SeqOptions(max_source=64, max_target=16))
    assert family.tokenizer(TEXTS[0])["input_ids"] == tokenizer(TEXTS[0])["input_ids"]
    family.save(tmp_path / "saved")
    saved = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert saved(TEXTS[0])["input_ids"] == tokenizer(TEXTS[0])["input_ids"]


def test_pre_training_goes_on_from_a_folder_with_the_file_alone(tmp_path, monkeypatch):
    from transformers import AutoTokenizer

    from keyphrase_plm.commands.pretrain import Options, run
    from keyphrase_plm.small_models import new_bart
    from nonet.training.options import OptimizerOptions, TrainerOptions

    monkeypatch.setenv("NONET_PROGRESS", "0")
    (tmp_path / "scibart").mkdir()
    path, _ = trained(tmp_path / "scibart" / "sentencepiece.bpe.model")
    tokenizer = load_scibart_tokenizer(path)
    model = new_bart(len(tokenizer), tokenizer, layers=1, width=16, heads=2, positions=64)
    model.save_pretrained(tmp_path / "scibart")
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS[:40]) + "\n", encoding="utf-8")
    options = Options(
        data=(tmp_path / "texts.txt",), objective="infill", init=str(tmp_path / "scibart"), length=48,
        batch=8, out=tmp_path / "run", optimizer=OptimizerOptions(lr=1e-3),
        trainer=TrainerOptions(steps=2, accelerator="cpu"),
    )  # fmt: skip
    assert run(options) == 0
    saved = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    assert saved(TEXTS[0])["input_ids"] == tokenizer(TEXTS[0])["input_ids"]
