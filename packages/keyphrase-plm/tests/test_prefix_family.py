"""The family prefix-lm: rows, what a model learns, scores, folders, and what it refuses."""

import json
import math

import numpy as np
import pytest
import torch

from keyphrase_plm import toy
from keyphrase_plm.decoding_options import DecodeOptions
from keyphrase_plm.documents import Document
from keyphrase_plm.embedding_rows import add_digit_token
from keyphrase_plm.loading import load_family
from keyphrase_plm.prefix_family import PrefixLM
from keyphrase_plm.prefix_lm import target_features
from keyphrase_plm.prefix_options import PrefixOptions
from keyphrase_plm.sequences import source_text, target_text
from keyphrase_plm.vocabulary import train_vocabulary
from nonet.data.batching import generator
from nonet.errors import UserError

SHORT = PrefixOptions(max_source=40, max_target=16)
DOCUMENTS = toy.corpus(12, seed=0)


@pytest.fixture(scope="module")
def tokenizer():
    texts = [text for each in toy.corpus(60, seed=1) for text in (source_text(each), target_text(each))]
    return train_vocabulary(texts, 400, kind="wordpiece")


def tiny(tokenizer, **changed):
    options = PrefixOptions(**{"max_source": 40, "max_target": 16} | changed)
    return PrefixLM.tiny(tokenizer, seed=0, width=64, options=options).eval()


def train(family, documents, steps, rate=2e-3, batch=None):
    """Steps over all documents, or over batches of them in turn; the last loss a piece."""
    rows = [family.encode(document) for document in documents]
    batch = batch or len(rows)
    optimizer = torch.optim.AdamW(family.parameters(), lr=rate, betas=(0.9, 0.98))
    family.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 20)
        taken = [(step * batch + i) % len(rows) for i in range(batch)]
        seen = [family.example(rows[i], generator(0, "example", step, i)) for i in taken]
        total, count = family(family.collate(seen))
        optimizer.zero_grad()
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(family.parameters(), 1.0)
        optimizer.step()
    family.eval()
    return (total / count).item()


def predicted(family, documents, options=None):
    rows = [family.encode(document, gold=False) for document in documents]
    return family.predict(documents, rows, options or DecodeOptions())


@pytest.fixture(scope="module")
def trained(tokenizer):
    family = tiny(tokenizer)
    train(family, DOCUMENTS[:4], 100)
    return family


def test_a_row_is_the_document_between_cls_and_sep_and_the_phrases_before_sep(tokenizer):
    row = tiny(tokenizer).encode(DOCUMENTS[0])
    pieces = tokenizer.convert_ids_to_tokens(row["source"].tolist())
    assert (pieces[0], pieces[-1]) == ("[CLS]", "[SEP]")
    assert tokenizer.decode(row["source"][1:-1]) == tokenizer.decode(
        tokenizer(source_text(DOCUMENTS[0]), add_special_tokens=False)["input_ids"]
    )
    first, last = DOCUMENTS[0].present
    assert tokenizer.decode(row["target"]) == f"{first} ; {last} ; {DOCUMENTS[0].absent[0]} [SEP]"
    assert row["size"] == (len(row["source"]), len(row["target"]))
    assert (row["cut"], row["lost"], row["ends"].tolist()) == (0, 0, [len(row["target"])])


def test_what_does_not_fit_is_cut_and_counted(tokenizer):
    family = tiny(tokenizer, max_source=12, max_target=5)
    row = family.encode(DOCUMENTS[0])
    whole = tiny(tokenizer).encode(DOCUMENTS[0])
    assert (len(row["source"]), row["cut"]) == (12, len(whole["source"]) - 12)
    assert row["source"][-1] == tokenizer.sep_token_id
    assert tokenizer.decode(row["target"]) == f"{DOCUMENTS[0].present[0]} [SEP]"
    assert row["lost"] == 2


def test_one_phrase_at_a_time_comes_as_often_as_any_other(tokenizer):
    family = tiny(tokenizer, targets="one2one")
    row = family.encode(DOCUMENTS[0])
    phrases = [*DOCUMENTS[0].present, *DOCUMENTS[0].absent]
    seen = [family.example(row, generator(0, "example", epoch, 3)) for epoch in range(300)]
    texts = [tokenizer.decode(each["target"][:-1]) for each in seen]
    assert set(texts) == set(phrases)
    assert all(70 <= texts.count(phrase) <= 130 for phrase in phrases)  # 100 +- 3.7 standard deviations
    assert all(len(each["target"]) == len(each["pseudo"]) for each in seen)
    assert row["size"][1] == max(len(each["target"]) for each in seen)


def test_a_document_without_phrases_has_a_target_that_ends_at_once(tokenizer):
    for targets in ("one2seq", "one2one"):
        family = tiny(tokenizer, targets=targets)
        row = family.encode(Document("a", "title", "body"))
        assert row["target"].tolist() == [tokenizer.sep_token_id]
        total, count = family(family.collate([family.example(row, np.random.default_rng(0))]))
        assert count == 1
        assert torch.isfinite(total)


@pytest.mark.parametrize("objective", ["pseudo", "causal"])
def test_a_tiny_model_learns_documents_by_heart(tokenizer, trained, objective):
    family = trained
    if objective == "causal":
        family = tiny(tokenizer, objective="causal")
        assert train(family, DOCUMENTS[:4], 100) < 0.2
    for document, prediction in zip(DOCUMENTS, predicted(family, DOCUMENTS[:4]), strict=False):
        assert prediction.phrases == (*document.present, *document.absent)
        assert all(-0.5 < score <= 0 for score in prediction.scores)


@pytest.mark.parametrize(
    "options",
    [
        DecodeOptions(),
        DecodeOptions(mode="beam", beams=4, samples=2, order="score"),
        DecodeOptions(mode="sample", samples=4, temperature=2.0, seed=1),
    ],
    ids=lambda options: options.mode,
)
def test_predictions_depend_neither_on_the_batch_nor_on_its_order(trained, options):
    together = predicted(trained, DOCUMENTS, options)
    backwards = predicted(trained, DOCUMENTS[::-1], options)[::-1]
    alone = [predicted(trained, [document], options)[0] for document in DOCUMENTS]
    for one, other, third in zip(together, backwards, alone, strict=True):
        assert one.phrases == other.phrases == third.phrases
        assert one.scores == pytest.approx(other.scores, abs=1e-4)
        assert one.scores == pytest.approx(third.scores, abs=1e-4)
    if options.order == "score":
        assert all(list(each.scores) == sorted(each.scores, reverse=True) for each in together)


def test_the_score_of_a_phrase_is_the_mean_log_probability_of_its_pieces(trained):
    document = DOCUMENTS[0]
    (prediction,) = predicted(trained, [document])
    row = trained.encode(document)
    with torch.no_grad():
        batch = trained.collate([row])  # masks alone
        logits = trained.walk.logits(target_features(trained.walk, batch))[0]
    logits[:, [trained.mask, trained.pad]] = -torch.inf
    logs = logits.log_softmax(-1).gather(1, batch["target"][0, :, None])[:, 0]
    pieces = trained.tokenizer.convert_ids_to_tokens(row["target"].tolist())
    places = [[]]
    for place, piece in enumerate(pieces[:-1]):
        if piece == ";":
            places.append([])
        else:
            places[-1].append(place)
    assert prediction.scores == pytest.approx([logs[each].mean().item() for each in places], abs=1e-4)


def test_phrases_of_many_documents_are_scored_as_alone_and_as_by_the_loss(trained, monkeypatch):
    lists = [["wild eagle", "piano", "the bright rose"], [], ["oak"], ["old ship ; quiet", "drum"]]
    together = trained.phrase_log_likelihoods(DOCUMENTS[:4], lists)
    assert [len(each) for each in together] == [3, 0, 1, 2]
    for document, phrases, scores in zip(DOCUMENTS, lists, together, strict=False):
        for phrase, score in zip(phrases, scores, strict=True):
            assert trained.phrase_log_likelihood(document, [phrase]) == pytest.approx([score], abs=1e-4)
    plain = PrefixLM(
        trained.model,
        trained.tokenizer,
        options=PrefixOptions(max_source=40, max_target=16, label_smoothing=0.0),
    )
    row = plain.encode(DOCUMENTS[0]._replace(present=("wild eagle",), absent=()))
    total, count = plain(plain.collate([row]))
    assert together[0][0] == pytest.approx(-(total / count).item(), abs=1e-4)
    long = trained.phrase_log_likelihood(DOCUMENTS[0], ["oak " * 30, *lists[0]])
    assert long == [-math.inf, *(pytest.approx(score, abs=1e-4) for score in together[0])]
    monkeypatch.setattr("keyphrase_plm.prefix_scoring.CELLS", 1)  # one phrase of each document at a time
    for one, other in zip(together, trained.phrase_log_likelihoods(DOCUMENTS[:4], lists), strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_a_learnt_phrase_is_likelier_than_one_of_another_document(tokenizer):
    family = tiny(tokenizer, targets="one2one")
    documents = [each._replace(absent=()) for each in DOCUMENTS[:4]]
    train(family, documents, 100)
    phrases = [phrase for each in documents for phrase in each.present]
    for document, scores in zip(
        documents, family.phrase_log_likelihoods(documents, [phrases] * 4), strict=True
    ):
        likeliest = sorted(zip(scores, phrases, strict=True), reverse=True)[:2]
        assert {phrase for _, phrase in likeliest} == set(document.present)


def test_a_folder_gives_the_model_back(trained, tmp_path):
    trained.save(tmp_path)
    loaded = load_family(tmp_path)
    assert loaded.options == trained.options
    assert [each.phrases for each in predicted(loaded, DOCUMENTS)] == [
        each.phrases for each in predicted(trained, DOCUMENTS)
    ]
    note = json.loads((tmp_path / "keyphrase.json").read_text())
    (tmp_path / "keyphrase.json").write_text(json.dumps(note | {"options": {"max_source": 40}}))
    with pytest.raises(
        UserError, match=r"keyphrase.json: not of a prefix-lm: family prefix-lm, options \{'max"
    ):
        PrefixLM.load(tmp_path)


def test_a_roberta_with_a_byte_level_vocabulary_learns_phrases_with_letters_of_several_bytes():
    from transformers import RobertaConfig, RobertaForMaskedLM

    documents = [
        Document("0", "über café", "naïve bayes 日本語", ("über café", "日本語"), ("señal",)),
        Document("1", "c++ ; e-mail", "don't", ("c++", "e-mail"), ("日本",)),
    ]
    texts = [text for each in documents for text in (source_text(each), target_text(each))]
    tokenizer = train_vocabulary(texts, 300, kind="bpe")
    if tokenizer.cls_token is None:
        tokenizer.add_special_tokens({"cls_token": "<s>", "sep_token": "</s>"})
    options = PrefixOptions(max_source=80, max_target=40)
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=128, max_position_embeddings=122, pad_token_id=tokenizer.pad_token_id,
        type_vocab_size=1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        family = PrefixLM(RobertaForMaskedLM(config), tokenizer, options=options)
    train(family, documents, 80)
    for document, prediction in zip(documents, predicted(family, documents), strict=True):
        assert prediction.phrases == (*document.present, *document.absent)


def test_a_token_for_digits_can_be_added_learnt_and_written(tokenizer):
    import copy

    family = tiny(copy.deepcopy(tokenizer))
    assert add_digit_token(family)
    document = Document("0", "in [digit] d", "nothing", ("[digit] d",), ())
    row = family.encode(document)
    assert row["target"][0] == len(tokenizer)
    train(family, [document], 40)
    assert predicted(family, [document])[0].phrases == ("[digit] d",)


def test_lengths_beyond_the_model_and_a_tokenizer_without_a_mask_are_refused(tokenizer):
    import copy

    model = tiny(tokenizer).model
    with pytest.raises(
        UserError, match="max_source 60 and max_target 16 are 76 pieces, but the model has pos"
    ):
        PrefixLM(model, tokenizer, options=PrefixOptions(max_source=60, max_target=16))
    without = copy.deepcopy(tokenizer)
    without.mask_token = None
    with pytest.raises(UserError, match="the tokenizer has no mask token"):
        PrefixLM(model, without, options=SHORT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_target": 1}, "max_source is 464 and max_target 1"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1"),
        ({"keep": 0.7, "replace": 0.4}, "keep is 0.7 and replace 0.4"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        PrefixOptions(**options)
