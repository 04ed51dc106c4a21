"""The tagger: what it reads, what it learns, what it says, and its folder."""

import json
import math
from itertools import islice, pairwise, product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForTokenClassification, BertConfig, BertForMaskedLM

from keyphrase_plm import toy
from keyphrase_plm.decoding_options import DecodeOptions
from keyphrase_plm.documents import Document
from keyphrase_plm.loading import load_family
from keyphrase_plm.predicting import predict
from keyphrase_plm.presence import split, stemmer
from keyphrase_plm.sequences import source_words
from keyphrase_plm.tagger import Tagger
from keyphrase_plm.tagger_options import TaggerOptions
from keyphrase_plm.tags import B, I, O, spans_of
from keyphrase_plm.vocabulary import train_vocabulary
from nonet.errors import UserError
from nonet.testing import data_folder, one_thread

DOCUMENTS = toy.corpus(16, seed=3)
TEXT = DecodeOptions()
BEST = DecodeOptions(order="score")


@pytest.fixture(scope="module")
def tokenizer():
    return train_vocabulary(
        [" ".join(source_words(each)) for each in toy.corpus(60, seed=1)], 300, kind="wordpiece"
    )


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "crf"])
def trained(request, tokenizer):
    """A tagger that has seen the documents often, and its loss a document at the begin and at the end."""
    family = Tagger.tiny(tokenizer, seed=0, width=48, crf=request.param)
    batch = family.collate([family.encode(document) for document in DOCUMENTS])
    optimizer = torch.optim.AdamW(family.parameters(), lr=5e-3)
    losses = []
    with one_thread():
        for _ in range(40):
            total, count = family.train()(batch)
            optimizer.zero_grad()
            (total / count).backward()
            optimizer.step()
            losses.append(total.item())
    return family.eval(), losses


def said(family, documents, options=TEXT):
    rows = [family.encode(document, gold=False) for document in documents]
    return family.predict(documents, rows, options)


def forced(family, scores):
    """The family with a classifier that says `scores` (W, 3) of the words of the one document it is given."""
    family.scores = lambda batch: torch.tensor([scores], dtype=torch.float32)
    return family


def test_training_lowers_the_loss_and_finds_the_gold_phrases(trained):
    family, losses = trained
    assert losses[-1] < 0.1 * losses[0]
    for document, found in zip(DOCUMENTS, said(family, DOCUMENTS), strict=True):
        assert found.phrases == document.present
        words = source_words(document)
        assert [" ".join(words[first:stop]) for first, stop in found.spans] == list(found.phrases)
        assert all(-1 < score <= 0 for score in found.scores)


def test_predictions_depend_on_neither_batch_nor_order(trained):
    family, _ = trained
    documents = [*toy.corpus(8, seed=9), Document("one", "", "lion"), Document("blank", "", "\u200b")]
    documents.append(Document("long", "", " ".join(each.body for each in toy.corpus(6, seed=2))))
    together = {each.id: each for each in said(family, documents)}
    turned = {each.id: each for each in said(family, documents[::-1])}
    streamed = {each.id: each for each in predict(family, documents, DecodeOptions(batch_tokens=64))}
    for document in documents:
        (alone,) = said(family, [document])
        for other in (together, turned, streamed):
            assert other[document.id].phrases == alone.phrases
            assert other[document.id].spans == alone.spans
            assert other[document.id].scores == pytest.approx(alone.scores, abs=1e-4)
    assert not together["blank"].phrases


def test_a_folder_reads_back_to_the_same_predictions(trained, tmp_path):
    family, _ = trained
    family.save(tmp_path)
    again = load_family(tmp_path)
    assert said(again, DOCUMENTS, BEST) == said(family, DOCUMENTS, BEST)
    plain = AutoModelForTokenClassification.from_pretrained(tmp_path)
    assert plain.config.id2label == {0: "O", 1: "B", 2: "I"}
    assert (tmp_path / "crf.safetensors").exists() == (family.crf is not None)
    if family.crf is not None:
        assert torch.equal(again.crf.transitions, family.crf.transitions)
        (tmp_path / "crf.safetensors").unlink()
        with pytest.raises(UserError, match=r"crf\.safetensors: cannot be read"):
            load_family(tmp_path)


def test_a_row_has_the_first_piece_and_the_label_of_each_word(tokenizer):
    family = Tagger.tiny(tokenizer)
    document = DOCUMENTS[0]._replace(title="", body="we study the oldest small lion", present=("small lion",))
    row = family.encode(document)
    pieces = tokenizer.convert_ids_to_tokens(row["ids"].tolist())
    assert (pieces[0], pieces[-1]) == ("[CLS]", "[SEP]")
    assert len(pieces) > 8, "a word of several pieces"
    joined = tokenizer.decode(row["ids"], skip_special_tokens=True)
    assert joined.replace(" ##", "").split()[:3] == ["we", "study", "the"]
    assert [pieces[at] for at in row["first"].tolist()][-2:] == ["small", "lion"]
    assert row["labels"].tolist() == [O, O, O, O, B, I]
    assert row["words"].tolist() == [0, 1, 2, 3, 4, 5]
    assert (row["cut"], row["lost"], row["size"]) == (0, 0, (len(pieces), 6))
    assert {array.dtype for array in row.values() if isinstance(array, np.ndarray)} == {np.dtype(np.int32)}
    assert "labels" not in family.encode(document, gold=False)


@pytest.mark.parametrize(
    ("limits", "read"),
    [({"max_words": 4}, 4), ({"max_pieces": 7}, 5), ({"max_words": 3, "max_pieces": 7}, 3), ({}, 8)],
)
def test_longer_texts_are_cut_by_words_and_by_pieces_and_lost_phrases_counted(tokenizer, limits, read):
    body = "the small lion the old whale the lions"
    document = Document("d", "", body, ("small lion", "old whale", "lion"))
    family = Tagger.tiny(tokenizer, **limits)
    row = family.encode(document)
    assert len(row["words"]) == read
    assert row["cut"] == 8 - read
    assert row["lost"] == (1 if read < 6 else 0), "`old whale`; a stem of `lion` stands in front too"
    assert said(family, [document])[0].cut == 8 - read


@pytest.mark.parametrize(
    ("body", "present", "visible", "labels", "found_at"),
    [
        ("small \u200b lion runs", "small lion", [0, 2, 3], [B, I, O], (0, 3)),
        ("\u200b\u200d small lion", "small lion", [1, 2], [B, I], (1, 3)),
        ("small lion \x07", "lion", [0, 1], [O, B], (1, 2)),
        ("old 🦁 lion", "🦁 lion", [0, 1, 2], [O, B, I], (1, 3)),
        ("אריה small ﷽ lion", "אריה small", [0, 1, 2, 3], [B, I, O, O], (0, 2)),
        ("１２３ lion 12", "１２３ lion", [0, 1, 2], [B, I, O], (0, 2)),
        ("\u200b", "small", [], [], None),
    ],
)
def test_words_without_pieces_and_of_any_script_keep_their_places(
    tokenizer, body, present, visible, labels, found_at
):
    family = Tagger.tiny(tokenizer)
    document = Document("d", "", body, (present,))
    row = family.encode(document)
    assert row["words"].tolist() == visible
    assert row["labels"].tolist() == labels
    assert (row["cut"], row["lost"]) == (0, 0)
    scores = torch.full((8, 3), -9.0)
    for at, label in enumerate(labels):
        scores[at, label] = 9.0
    (found,) = said(forced(family, scores.tolist()), [document])
    assert found.phrases == (() if found_at is None else (present,))
    assert found.spans == (() if found_at is None else (found_at,)), "over a word without pieces, too"


def test_a_score_is_the_mean_log_probability_and_orders_phrases_on_demand(tokenizer):
    family = Tagger.tiny(tokenizer)
    document = Document("d", "", "old small lion old the old")
    scores = [[0, 1, 0], [0, 3, 0], [0, 0, 2], [0, 2, 0], [9, 0, 0], [0, 1.5, 0], [0, 0, 0], [0, 0, 0]]
    forced(family, scores)

    def share(score):
        return score - math.log(2 + math.exp(score))

    (found,) = said(family, [document])
    assert found.phrases == ("old", "small lion")
    assert found.spans == ((0, 1), (1, 3))
    assert found.scores == pytest.approx((share(2), (share(3) + share(2)) / 2), abs=1e-6), "the best `old`"
    (ordered,) = said(family, [document], BEST)
    assert ordered.phrases == ("small lion", "old")
    assert ordered.scores == found.scores[::-1]
    assert ordered.spans == found.spans[::-1]


def test_a_crf_takes_the_best_path_and_scores_by_its_marginals(tokenizer):
    family = Tagger.tiny(tokenizer, crf=True)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for part in family.crf.parameters():
            part.copy_(torch.randn(part.shape, generator=generator) * 2)
    scores = torch.randn(4, 3, generator=generator)
    crf = family.crf.requires_grad_(False)
    weights = {
        path: math.exp(
            crf.start[path[0]] + crf.end[path[-1]] + sum(scores[at, label] for at, label in enumerate(path))
            + sum(crf.transitions[a, b] for a, b in pairwise(path))
        )
        for path in product((O, B, I), repeat=4)
    }  # fmt: skip
    labels, log_probs = crf.decode(scores[None], torch.ones(1, 4, dtype=torch.bool))
    assert tuple(labels[0].tolist()) == max(weights, key=weights.__getitem__)
    total = sum(weights.values())
    for at, label in product(range(4), range(3)):
        share = sum(weight for path, weight in weights.items() if path[at] == label) / total
        assert log_probs[0, at, label].item() == pytest.approx(math.log(share), abs=1e-4)
    gold = torch.tensor([[O, B, I, O]])
    loss = crf.loss(scores[None], gold, torch.ones(1, 4, dtype=torch.bool))
    assert loss.item() == pytest.approx(-math.log(weights[O, B, I, O] / total), abs=1e-4)


def test_the_loss_is_the_weighted_cross_entropy_of_first_pieces(tokenizer):
    family = Tagger.tiny(tokenizer, begin_weight=4.0, inside_weight=2.0)
    rows = [family.encode(document) for document in DOCUMENTS[:3]]
    total, count = family(family.collate(rows))
    wanted, words = 0.0, 0
    for row in rows:
        ids = torch.from_numpy(row["ids"]).long()[None]
        log_probs = family.model(input_ids=ids).logits[0].log_softmax(1)
        for first, label in zip(row["first"].tolist(), row["labels"].tolist(), strict=True):
            wanted -= (1, 4, 2)[label] * log_probs[first, label].item()
            words += 1
    assert total.item() == pytest.approx(wanted, rel=1e-4)
    assert count.item() == words


def test_a_crf_that_knows_nothing_has_the_loss_of_the_words_alone(tokenizer):
    family = Tagger.tiny(tokenizer, crf=True)
    batch = family.collate([family.encode(document) for document in DOCUMENTS[:3]])
    total, count = family(batch)
    scores = family.scores(batch)
    words = F.cross_entropy(
        scores.flatten(0, 1), batch["labels"].flatten(), ignore_index=-100, reduction="sum"
    )
    assert total.item() == pytest.approx(words.item(), rel=1e-4)
    assert count.item() == 3


def test_the_longest_input_fits_where_padding_is_rounded_up(tokenizer):
    family = Tagger.tiny(tokenizer, positions=13)
    found = said(family, [Document("d", "", "lion " * 40)])
    assert found[0].cut == 40 - 11


def test_an_encoder_becomes_a_tagger_and_its_weights_are_kept(tokenizer, tmp_path):
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip
    encoder = BertForMaskedLM(config)
    encoder.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    family = Tagger.create(str(tmp_path), TaggerOptions(crf=True, labels="compat", max_words=30))
    for name, part in family.model.bert.named_parameters():
        assert torch.equal(part, encoder.bert.get_parameter(name))
    assert (family.max_pieces, family.max_words, family.labels) == (64, 30, "compat")
    assert family.crf is not None
    note = tmp_path / "tagger"
    family.save(note)
    assert json.loads((note / "keyphrase.json").read_text())["family"] == "tag"


def test_robertas_words_have_the_pieces_of_running_text(tmp_path):
    from transformers import RobertaConfig, RobertaForMaskedLM

    texts = [" ".join(source_words(each)) for each in toy.corpus(60, seed=1)]
    tokenizer = train_vocabulary(texts, 400, kind="bpe")
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=40, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    RobertaForMaskedLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    family = Tagger.create(str(tmp_path), TaggerOptions())
    running = tokenizer(" " + texts[0], add_special_tokens=False)["input_ids"]
    row = family.encode(toy.corpus(60, seed=1)[0])
    assert any(piece.startswith("\u0120s") for piece in tokenizer.convert_ids_to_tokens(running))
    assert row["ids"].tolist() == [*family.front, *running, *family.back]
    assert family.max_pieces == 40 - tokenizer.pad_token_id - 1
    assert said(family, [Document("d", "", "lion " * 90)])[0].cut > 0, "no position is missing"


def test_labels_of_real_papers_are_said_as_the_phrases_that_no_other_overlaps(tokenizer):
    papers = islice(open_papers(data_folder("papers", "keyphrases.jsonl")), 150)
    family, porter = (
        Tagger.tiny(tokenizer, positions=4096, max_words=2000, max_pieces=4096),
        stemmer("porter"),
    )
    phrases = 0
    for document in papers:
        row = family.encode(document)
        words = source_words(document)
        read = {
            " ".join(porter(words[at]) for at in row["words"][first:stop].tolist())
            for first, stop in spans_of(row["labels"].tolist())
        }
        gold = {" ".join(map(porter, phrase.split())) for phrase in document.present}
        assert read <= gold
        nested = {one for one in gold if any(set(one.split()) & set(two.split()) for two in gold - {one})}
        assert gold - nested <= read
        phrases += len(gold - nested)
    assert phrases > 150


def open_papers(path):
    """Papers with those of their keywords that occur in the text."""
    porter = stemmer("porter")
    with open(path, encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            document = Document(record["id"], record["title"], record["abstract"])
            present, _ = split(source_words(document), record["keywords"], porter)
            yield document._replace(present=tuple(present))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda t: TaggerOptions(max_words=0), "max_words is 0"),
        (lambda t: TaggerOptions(max_pieces=2), "max_pieces is 2"),
        (lambda t: TaggerOptions(begin_weight=0), "begin_weight 0"),
        (lambda t: TaggerOptions(crf=True, begin_weight=4), "a CRF knows only whole texts"),
        (lambda t: Tagger.tiny(t, max_pieces=129), "max_pieces is 129, but the model has 128 positions"),
        (lambda t: Tagger.tiny(t, max_pieces=2), "no room between the special pieces"),
        (lambda t: Tagger.create("no/such/folder", TaggerOptions()), "no folder no/such/folder"),
        (
            lambda t: Tagger.tiny(t).predict([], [], DecodeOptions(mode="beam", beams=2)),
            "mode is beam, but a tagger labels words",
        ),
    ],
)
def test_mistakes_are_named(tokenizer, call, text):
    with pytest.raises(UserError, match=text):
        call(tokenizer)


def test_a_checkpoint_without_the_encoder_is_refused(tokenizer, tmp_path):
    from safetensors.torch import load_file, save_file

    Tagger.tiny(tokenizer).save(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    gone = "bert.encoder.layer.1.output.dense.weight"
    save_file(
        {name: part for name, part in weights.items() if name != gone},
        tmp_path / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(UserError, match=rf"{gone} missing"):
        Tagger.create(str(tmp_path), TaggerOptions())


def test_a_note_without_a_value_is_named(tokenizer, tmp_path):
    Tagger.tiny(tokenizer).save(tmp_path)
    note = json.loads((tmp_path / "keyphrase.json").read_text())
    del note["max_words"]
    (tmp_path / "keyphrase.json").write_text(json.dumps(note))
    with pytest.raises(UserError, match=r"keyphrase\.json: max_words missing"):
        Tagger.load(tmp_path)


def test_a_folder_without_its_label_map_is_named(tokenizer, tmp_path):
    Tagger.tiny(tokenizer).save(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    del config["id2label"], config["label2id"]
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"model: cannot be loaded as "):
        Tagger.load(tmp_path / "model")
