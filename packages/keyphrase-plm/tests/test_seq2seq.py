"""BART and T5 against transformers: losses, greedy and beam outputs, likelihoods, folders."""

import numpy as np
import pytest
import torch

from keyphrase_plm.decoding_options import DecodeOptions
from keyphrase_plm.documents import Document
from keyphrase_plm.seq2seq import Seq2Seq
from keyphrase_plm.seq2seq_options import Seq2SeqOptions
from keyphrase_plm.sequences import source_text, target_text
from keyphrase_plm.vocabulary import train_vocabulary
from nonet.errors import UserError

DOCUMENTS = [
    Document("a", "Graph colouring", "a survey of graphs", ("graph colouring", "graphs"), ("np hard",)),
    Document("b", "", "sensor networks aggregate data over many hops and save energy", ("sensor networks",)),
    Document("c", "Deep learning", "no phrases here", (), ("reinforcement learning", "neural nets")),
    Document("d", "Routing", "energy aware routing in many networks", ("energy aware routing", "routing")),
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    texts = [source_text(each) + " " + target_text(each) for each in DOCUMENTS]
    return train_vocabulary(texts * 3, 400, kind="bpe")


def shaken(model, seed=2, size=0.2):
    """Random weights large enough that the likeliest tokens differ from place to place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * size)
    return model.eval()


def bart(tokenizer, **options):
    family = Seq2Seq.tiny(tokenizer, seed=1, **options)
    shaken(family.model)
    return family.eval()


def t5(tokenizer):
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=12, d_ff=48, num_layers=2, num_heads=2,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id, relative_attention_num_buckets=8,
        relative_attention_max_distance=20,
    )  # fmt: skip
    torch.manual_seed(0)
    family = Seq2Seq(
        T5ForConditionalGeneration(config),
        tokenizer,
        prefix="generate keyphrases: ",
        max_source=64,
        max_target=40,
    )
    shaken(family.model, seed=2, size=0.4)
    return family.eval()


@pytest.fixture(scope="module", params=["bart", "t5"])
def family(request, tokenizer):
    return {"bart": bart, "t5": t5}[request.param](tokenizer)


def batch_of(family, documents=DOCUMENTS, gold=True):
    return family.collate([family.encode(each, gold=gold) for each in documents])


def test_the_loss_is_that_of_transformers_given_the_labels(family):
    batch = batch_of(family)
    total, count = family(batch)
    theirs = family.model(
        input_ids=batch["source"], attention_mask=batch["mask"], labels=batch["labels"]
    ).loss
    assert int(count) == int((batch["labels"] != -100).sum())
    assert (total / count).item() == pytest.approx(theirs.item(), rel=1e-5)


def test_greedy_writes_the_tokens_of_generate(family):
    batch = batch_of(family, gold=False)
    theirs = family.model.generate(
        input_ids=batch["source"],
        attention_mask=batch["mask"],
        num_beams=1,
        do_sample=False,
        max_new_tokens=30,
    )[:, 1:]
    rows = [family.encode(each, gold=False) for each in DOCUMENTS]
    ours = family.write(rows, DecodeOptions(max_length=30), keys="abcd").tokens[:, 0]
    assert ours[:, : theirs.shape[1]].tolist() == theirs.tolist()
    assert len({tuple(line) for line in ours.tolist()}) > 1


def test_no_repeat_ngram_is_that_of_generate(family):
    batch = batch_of(family, gold=False)
    theirs = family.model.generate(
        input_ids=batch["source"], attention_mask=batch["mask"], num_beams=1, do_sample=False,
        max_new_tokens=30, no_repeat_ngram_size=2,
    )[:, 1:]  # fmt: skip
    rows = [family.encode(each, gold=False) for each in DOCUMENTS]
    ours = family.write(rows, DecodeOptions(max_length=30, no_repeat_ngram=2), keys="abcd").tokens[:, 0]
    assert ours[:, : theirs.shape[1]].tolist() == theirs.tolist()


@pytest.mark.parametrize("mode", ["greedy", "beam"])
@torch.no_grad()
def test_token_log_probabilities_are_those_of_the_forward_pass(family, mode):
    options = DecodeOptions(
        mode=mode, beams=3 if mode == "beam" else 1, samples=2 if mode == "beam" else 1, max_length=12
    )
    rows = [family.encode(each, gold=False) for each in DOCUMENTS]
    written = family.write(rows, options, keys="abcd")
    batch = batch_of(family, gold=False)
    for place in range(written.tokens.shape[1]):
        tokens = written.tokens[:, place]
        inputs = torch.cat([torch.full((4, 1), family.start), tokens[:, :-1]], 1)
        logits = family.model(
            input_ids=batch["source"], attention_mask=batch["mask"], decoder_input_ids=inputs
        ).logits
        ended = (tokens == family.end).cumsum(1) - (tokens == family.end).long() > 0
        expected = logits.log_softmax(-1).gather(2, tokens[:, :, None])[:, :, 0].masked_fill(ended, 0)
        torch.testing.assert_close(written.log_probs[:, place], expected, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        DecodeOptions(max_length=20),
        DecodeOptions(mode="beam", beams=3, samples=2, max_length=12),
        DecodeOptions(
            mode="sample", samples=3, top_p=0.9, temperature=0.7, seed=5, max_length=12, order="score"
        ),
    ],
    ids=["greedy", "beam", "sample"],
)
def test_predictions_do_not_depend_on_the_batch(family, options):
    rows = [family.encode(each, gold=False) for each in DOCUMENTS]
    together = family.predict(DOCUMENTS, rows, options)
    for order in ([2], [3, 0], [1]):
        apart = family.predict([DOCUMENTS[i] for i in order], [rows[i] for i in order], options)
        for i, prediction in zip(order, apart, strict=True):
            assert prediction.phrases == together[i].phrases
            assert prediction.scores == pytest.approx(together[i].scores, abs=1e-4)


def test_samples_differ_from_each_other_and_between_seeds(family):
    rows = [family.encode(DOCUMENTS[0], gold=False)]
    first = family.write(rows, DecodeOptions(mode="sample", samples=4, max_length=12), keys=["a"]).tokens[0]
    other = family.write(
        rows, DecodeOptions(mode="sample", samples=4, seed=1, max_length=12), keys=["a"]
    ).tokens[0]
    assert len({tuple(line) for line in first.tolist()}) == 4
    assert first.tolist() != other.tolist()


def test_the_likelihood_of_a_phrase_is_minus_the_loss_of_a_document_with_it_alone(family):
    phrases = ["graph colouring", "np hard", "x"]
    found = family.phrase_log_likelihood(DOCUMENTS[0], phrases)
    for phrase, value in zip(phrases, found, strict=True):
        batch = batch_of(family, [DOCUMENTS[0]._replace(present=(phrase,), absent=())])
        total, count = family(batch)
        assert value == pytest.approx(-(total / count).item(), rel=1e-4)
    assert family.phrase_log_likelihood(DOCUMENTS[0], []) == []


def test_a_target_that_is_too_long_ends_behind_the_last_phrase_that_fits(tokenizer):
    family = bart(tokenizer)
    document = Document("long", "t", "b", tuple(f"graph colouring {i}" for i in range(30)))
    row = family.encode(document)
    text = tokenizer.decode(row["target"], skip_special_tokens=True)
    kept = [part.strip() for part in text.split(";")]
    assert len(row["target"]) <= family.max_target
    assert kept == list(document.present[: len(kept)])
    assert row["lost"] == 30 - len(kept)
    assert row["target"][-1] == family.end


def test_a_source_that_is_too_long_is_cut_counted_and_still_ends(tokenizer):
    family = bart(tokenizer)
    row = family.encode(Document("long", "t", "graph " * 500), gold=False)
    whole = len(tokenizer(source_text(Document("long", "t", "graph " * 500)), verbose=False)["input_ids"])
    assert len(row["source"]) == family.max_source
    assert row["cut"] == whole - family.max_source
    assert row["source"][-1] == tokenizer.eos_token_id


def test_one2one_draws_one_phrase_of_the_document_at_a_time(tokenizer):
    family = bart(tokenizer, targets="one2one")
    row = family.encode(DOCUMENTS[0])
    drawn = {
        tokenizer.decode(
            family.example(row, np.random.default_rng(seed))["target"], skip_special_tokens=True
        ).strip()
        for seed in range(30)
    }
    assert drawn == {"graph colouring", "graphs", "np hard"}


def test_a_document_without_phrases_has_no_loss_under_one2one_and_the_end_under_one2seq(tokenizer):
    bare = DOCUMENTS[1]._replace(present=())
    one = bart(tokenizer, targets="one2one")
    total, count = one(batch_of(one, [bare]))
    assert (total.item(), count.item()) == (0.0, 0)
    assert bart(tokenizer).encode(bare)["target"].tolist() == [0, 2]


def test_a_saved_folder_is_read_by_load_and_by_transformers(family, tmp_path):
    from transformers import AutoModelForSeq2SeqLM

    family.save(tmp_path / "model")
    again = Seq2Seq.load(tmp_path / "model").eval()
    rows = [family.encode(each, gold=False) for each in DOCUMENTS]
    options = DecodeOptions(max_length=20)
    assert again.predict(DOCUMENTS, rows, options) == family.predict(DOCUMENTS, rows, options)
    plain = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model")
    assert plain.generation_config.no_repeat_ngram_size in (None, 0)
    assert plain.generation_config.num_beams in (None, 1)


def test_create_takes_the_prefix_of_the_kind_and_never_the_generation_config(family, tmp_path):
    family.model.generation_config.no_repeat_ngram_size = 3
    family.model.save_pretrained(tmp_path / "hub")
    family.tokenizer.save_pretrained(tmp_path / "hub")
    family.model.generation_config.no_repeat_ngram_size = None
    made = Seq2Seq.create(str(tmp_path / "hub"), Seq2SeqOptions(max_source=64, max_target=40)).eval()
    assert made.prefix == ("generate keyphrases: " if made.model.config.model_type == "t5" else "")
    rows = [family.encode(each, gold=False) for each in DOCUMENTS]
    options = DecodeOptions(max_length=20)
    assert made.predict(DOCUMENTS, rows, options) == family.predict(DOCUMENTS, rows, options)


def test_more_pieces_than_positions_are_refused(tokenizer):
    family = bart(tokenizer)
    with pytest.raises(
        UserError, match="max_source 4096 or max_target 128 is beyond the model's 128 positions"
    ):
        Seq2Seq(family.model, tokenizer, max_source=4096)
    with pytest.raises(UserError, match="max_length is 500, but the model writes at most 64"):
        family.predict(
            DOCUMENTS[:1], [family.encode(DOCUMENTS[0], gold=False)], DecodeOptions(max_length=500)
        )


def test_a_tokenizer_without_begin_and_end_is_refused():
    wordpiece = train_vocabulary(["a b c"], 20, kind="wordpiece")
    with pytest.raises(UserError, match="has no begin and end tokens, as BART's has"):
        Seq2Seq.tiny(wordpiece)
