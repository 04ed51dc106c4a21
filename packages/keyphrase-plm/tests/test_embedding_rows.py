"""`[digit]` as one token of every family, and tokenizers that do not fit."""

import copy

import pytest
import torch

from keyphrase_plm.bert2bert import Bert2Bert
from keyphrase_plm.decoding_options import DecodeOptions
from keyphrase_plm.documents import Document
from keyphrase_plm.embedding_rows import DIGIT, add_digit_token, check_rows
from keyphrase_plm.loading import load_family
from keyphrase_plm.predicting import predict
from keyphrase_plm.prefix_family import PrefixLM
from keyphrase_plm.seq2seq import Seq2Seq
from keyphrase_plm.tagger import Tagger
from keyphrase_plm.toy import words
from keyphrase_plm.vocabulary import train_vocabulary
from nonet.errors import UserError

DOCUMENT = Document("1", "the [digit] oak", "we study [digit] ferns", ("[digit] oak",))


@pytest.fixture(scope="module")
def tokenizers():
    texts = [" ".join(words())] * 3
    return {kind: train_vocabulary(texts, 320, kind=kind) for kind in ("wordpiece", "bpe")}


@pytest.mark.parametrize(
    ("kind", "vocabulary"),
    [
        (Tagger, "wordpiece"), (PrefixLM, "wordpiece"), (Seq2Seq, "bpe"),
        (Bert2Bert, "wordpiece"),
    ],
)  # fmt: skip
def test_the_digit_becomes_a_token_that_every_family_learns_and_reads(kind, vocabulary, tokenizers):
    family = kind.tiny(copy.deepcopy(tokenizers[vocabulary]), seed=0)
    before = len(family.tokenizer)
    assert add_digit_token(family)
    assert not add_digit_token(family), "once is enough"
    assert len(family.tokenizer) == before + 1
    assert len(family.tokenizer.tokenize(DIGIT)) == 1
    check_rows(family, "here")
    total, count = family(family.collate([family.encode(DOCUMENT)]))
    total.backward()
    assert count > 0
    assert len(list(predict(family, [DOCUMENT], DecodeOptions()))) == 1
    sides = [family.model] if kind is not Bert2Bert else [family.model.encoder, family.model.decoder]
    for side in sides:
        table = side.get_input_embeddings().weight
        place = family.tokenizer.convert_tokens_to_ids(DIGIT)
        assert table[place].detach().numpy() == pytest.approx(
            table[:before].detach().mean(0).numpy(), abs=1e-6
        )


def test_more_pieces_than_rows_are_refused(tokenizers):
    family = PrefixLM.tiny(copy.deepcopy(tokenizers["wordpiece"]), seed=0)
    family.tokenizer.add_tokens(["one", "more"])
    with pytest.raises(UserError, match=r"model: the tokenizer has .* rows of embeddings"):
        check_rows(family, "model")


def test_far_fewer_pieces_than_rows_are_refused(tokenizers):
    """The tokenizer of a BERT before a BART's 20,000 rows more gives ids that mean something else there."""
    family = PrefixLM.tiny(copy.deepcopy(tokenizers["wordpiece"]), seed=0)
    family.model.resize_token_embeddings(len(family.tokenizer) + 1024, mean_resizing=False)
    check_rows(family, "model")
    family.model.resize_token_embeddings(len(family.tokenizer) + 1025, mean_resizing=False)
    with pytest.raises(UserError, match="are not of one model"):
        check_rows(family, "model")


def test_halves_that_share_a_table_learn_the_digit_and_are_read_again(tokenizers, tmp_path):
    from keyphrase_plm.bert_halves import share

    family = Bert2Bert.tiny(copy.deepcopy(tokenizers["wordpiece"]), seed=0)
    family.shared = True
    share(family.model)
    assert add_digit_token(family)
    assert family.model.encoder.get_input_embeddings().weight is (
        family.model.decoder.get_output_embeddings().weight
    )
    family.save(tmp_path / "model")
    again = load_family(tmp_path / "model")
    assert again.model.decoder.config.vocab_size == len(family.tokenizer)
    options = DecodeOptions(max_length=6)
    assert list(predict(again, [DOCUMENT], options)) == list(predict(family.eval(), [DOCUMENT], options))


def test_an_output_layer_of_its_own_starts_the_digit_at_its_own_mean(tokenizers):
    family = Seq2Seq.tiny(copy.deepcopy(tokenizers["bpe"]), seed=0)
    family.model.config.tie_word_embeddings = False
    head = family.model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach() + 1)
    before = head.weight.detach().mean(0)
    assert add_digit_token(family)
    place = family.tokenizer.convert_tokens_to_ids(DIGIT)
    torch.testing.assert_close(family.model.get_output_embeddings().weight[place].detach(), before)
