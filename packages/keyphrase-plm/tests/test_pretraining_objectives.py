"""Masked words and text infilling as objectives, the vocabularies, the rows of raw text."""

import json

import numpy as np
import pytest
import torch

from keyphrase_plm.infilling_objective import TextInfilling
from keyphrase_plm.masked_words import MaskedWords, mask_words
from keyphrase_plm.raw_texts import read_texts
from keyphrase_plm.small_models import new_bart, new_bert
from keyphrase_plm.text_rows import encode_texts
from keyphrase_plm.vocabulary import starts_word, train_vocabulary
from nonet.errors import UserError

TEXTS = [f"graph number {i} has {i * i} nodes and colouring it takes long ." for i in range(60)]
TEXTS += ["a survey of deep networks , with café and naïve words .", "Keyphrases are short ."]


@pytest.fixture(scope="module")
def wordpiece():
    return train_vocabulary(TEXTS, 120, kind="wordpiece")


@pytest.fixture(scope="module")
def bpe():
    return train_vocabulary(TEXTS, 300, kind="bpe")


def batch_of(objective, rows, seed=0):
    examples = [objective.example(row, np.random.default_rng([seed, i])) for i, row in enumerate(rows)]
    return objective.collate(examples)


# ----------------------------------------------------------- masked words


def test_a_share_is_chosen_of_which_80_10_10_are_masked_random_and_kept():
    ids = np.concatenate([[2], np.arange(10, 9010), [3]]).astype(np.int32)
    inputs, labels = mask_words(ids, np.random.default_rng(0), mask=4, vocabulary=9000, fixed=[0, 2, 3, 4])
    chosen = labels != -100
    assert chosen.sum() == round(0.15 * 9000)
    assert not chosen[[0, -1]].any()
    assert (labels[chosen] == ids[chosen]).all()
    assert (inputs[~chosen] == ids[~chosen]).all()
    shares = [(inputs[chosen] == 4).mean(), (inputs[chosen] == ids[chosen]).mean()]
    assert shares == pytest.approx([0.8, 0.1], abs=0.03)


def test_a_row_of_one_token_has_it_chosen_and_a_row_of_none_nothing():
    for ids, count in (([2, 7, 3], 1), ([2, 3], 0)):
        _, labels = mask_words(
            np.array(ids, np.int32), np.random.default_rng(0), mask=4, vocabulary=9, fixed=[2, 3]
        )
        assert (labels != -100).sum() == count


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_the_loss_is_that_of_transformers_own_labels(kind, wordpiece):
    from transformers import DistilBertConfig, DistilBertForMaskedLM, RobertaConfig, RobertaForMaskedLM

    torch.manual_seed(0)
    vocabulary = len(wordpiece)
    if kind == "bert":
        model = new_bert(vocabulary, pad=0, layers=2, width=32, heads=2, positions=64, seed=0)
    elif kind == "roberta":
        model = RobertaForMaskedLM(
            RobertaConfig(vocab_size=vocabulary, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                          intermediate_size=64, max_position_embeddings=70, pad_token_id=0)
        )  # fmt: skip
    else:
        model = DistilBertForMaskedLM(
            DistilBertConfig(vocab_size=vocabulary, dim=32, n_layers=1, n_heads=2, hidden_dim=64)
        )
    objective = MaskedWords(model, wordpiece).eval()
    batch = batch_of(objective, encode_texts(TEXTS[:7], wordpiece, length=24))
    total, count = objective(batch)
    wanted = model(**batch).loss
    assert (total / count).item() == pytest.approx(wanted.item(), rel=1e-5)


# ----------------------------------------------------------- infilling


def test_infilling_learns_the_whole_text_and_its_loss_is_that_of_transformers(bpe):
    model = new_bart(len(bpe), bpe, layers=1, width=32, heads=2, positions=64, seed=0)
    objective = TextInfilling(model, bpe, starts_word=starts_word(bpe)).eval()
    rows = encode_texts(TEXTS[:5], bpe, length=48)
    batch = batch_of(objective, rows)
    for row, label, given in zip(rows, batch["labels"], batch["input_ids"], strict=True):
        assert label[label != -100].tolist() == row["ids"].tolist()
        assert (given == bpe.mask_token_id).any()
        assert given[0] == row["ids"][0]
    total, count = objective(batch)
    assert (total / count).item() == pytest.approx(model(**batch).loss.item(), rel=1e-5)


def test_a_tokenizer_without_mask_is_refused(wordpiece):
    from copy import deepcopy

    bare = deepcopy(wordpiece)
    bare.mask_token = None
    with pytest.raises(UserError, match="no mask token"):
        MaskedWords(torch.nn.Linear(1, 1), bare)


# ----------------------------------------------------------- vocabularies


def test_special_tokens_have_the_ids_that_the_models_expect(wordpiece, bpe):
    assert wordpiece.convert_tokens_to_ids(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]) == [0, 1, 2, 3, 4]
    assert bpe.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>"]) == [0, 1, 2, 3]
    assert bpe.mask_token_id == len(bpe) - 1


def test_byte_level_text_comes_back_as_it_was(bpe):
    for text in ("Graph colouring ; 日本語 \t x", "emoji \U0001f600 and \u200b zero width"):
        assert bpe.decode(bpe(text)["input_ids"], skip_special_tokens=True) == text


@pytest.mark.parametrize(("kind", "size"), [("wordpiece", 120), ("bpe", 300)])
def test_the_same_texts_give_the_same_vocabulary_and_it_is_saved(kind, size, tmp_path):
    from transformers import AutoTokenizer

    one, two = (train_vocabulary(TEXTS, size, kind=kind) for _ in range(2))
    assert one.get_vocab() == two.get_vocab()
    one.save_pretrained(tmp_path)
    back = AutoTokenizer.from_pretrained(tmp_path)
    assert back(TEXTS[0])["input_ids"] == two(TEXTS[0])["input_ids"]
    assert back.mask_token_id == one.mask_token_id
    assert len(back) == len(one)


def test_word_starts_are_those_of_the_text(wordpiece, bpe):
    for tokenizer in (wordpiece, bpe):
        starts = starts_word(tokenizer)
        encoding = tokenizer("colouring networks keyphrases", add_special_tokens=False)
        words = encoding.word_ids()
        first = [i == 0 or words[i] != words[i - 1] for i in range(len(words))]
        assert starts[encoding["input_ids"]].tolist()[1:] == first[1:]


@pytest.mark.parametrize(("kind", "size"), [("wordpiece", 5), ("bpe", 200)])
def test_a_vocabulary_that_is_too_small_is_refused(kind, size):
    with pytest.raises(UserError, match="too small: it has at least"):
        train_vocabulary(TEXTS, size, kind=kind)


def test_a_vocabulary_of_no_text_is_refused():
    with pytest.raises(UserError, match="no text to learn"):
        train_vocabulary([], 50, kind="wordpiece")


# ----------------------------------------------------------- raw text


def test_texts_are_read_from_lines_and_from_documents(tmp_path):
    (tmp_path / "a.txt").write_text("One line\n\nAnother  LINE\n")
    row = {"id": "1", "title": "Title", "body": "Body\ntext", "present": [], "absent": []}
    (tmp_path / "b.jsonl").write_text(json.dumps(row) + "\n")
    assert list(read_texts([tmp_path / "a.txt", tmp_path / "b.jsonl"])) == [
        "one line", "another line", "title body text",
    ]  # fmt: skip
    assert list(read_texts([tmp_path / "a.txt"], lower=False, limit=1)) == ["One line"]
    assert list(read_texts([tmp_path / "b.jsonl"], field="body")) == ["body text"]


def test_a_record_without_text_is_named(tmp_path):
    (tmp_path / "b.jsonl").write_text('{"text": "x"}\n{"words": "y"}\n')
    with pytest.raises(UserError, match=r"b\.jsonl:2: no text in the fields words"):
        list(read_texts([tmp_path / "b.jsonl"]))


def test_long_texts_are_cut_into_rows_and_short_ones_packed(wordpiece):
    inner = [wordpiece(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    cut = encode_texts(TEXTS, wordpiece, length=16)
    assert max(len(row["ids"]) for row in cut) == 16
    assert all(row["ids"][0] == 2 and row["ids"][-1] == 3 for row in cut)
    lost = sum(map(len, inner)) - sum(len(row["ids"]) - 2 for row in cut)
    assert lost == sum(len(ids) % 14 for ids in inner if len(ids) > 14 and len(ids) % 14 < 8)
    packed = encode_texts(TEXTS, wordpiece, length=64, pack=True)
    assert {len(row["ids"]) for row in packed[:-1]} == {64}
    joined = [int(i) for row in packed for i in row["ids"][1:-1]]
    assert joined == [i for k, ids in enumerate(inner) for i in ([3] if k else []) + ids]
