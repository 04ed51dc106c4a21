"""Overlap against rouge-score and plain counting, duplicates by hand, batches, and the command."""

import gzip
import json
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonet.cli import main
from nonet.errors import UserError
from nonet.metrics.rouge import score_pairs
from nonet.testing import data_folder, needs
from pegasus.cli import ABOUT, PROG, VERBS
from pegasus.overlap import REASONS, Item, OverlapFinder, Rules, TargetIndex
from pegasus.pairs import PairReader

TEXT = st.lists(st.sampled_from("run runs running a b c é - 7".split()), max_size=12).map(" ".join)


def plain_recall(target, document, n):
    """Share of the target's n-grams that the document has, by the definition."""

    def grams(text):
        words = text.lower().split()
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    wanted = grams(target)
    return (wanted & grams(document)).total() / wanted.total() if wanted else 0.0


@pytest.mark.parametrize("stemmer", [True, False])
@given(targets=st.lists(TEXT, min_size=1, max_size=4), documents=st.lists(TEXT, max_size=4))
def test_best_is_the_highest_rouge_recall_over_the_documents(stemmer, targets, documents):
    index = TargetIndex(targets, stemmer=stemmer)
    shares, which = index.update(documents)
    table = np.zeros((len(targets), len(documents)))
    for t, target in enumerate(targets):
        for d, document in enumerate(documents):
            scores = score_pairs([target], [document], ["rouge2"], stemmer)["rouge2"]
            table[t, d] = scores[0, 1]
    assert index.best.tolist() == table.max(axis=1, initial=0).tolist()
    assert shares.tolist() == table.max(axis=0, initial=0).tolist()
    for d, share in enumerate(shares):
        assert which[d] == (table[:, d].argmax() if share else -1)
    for t, best in enumerate(index.best):
        assert index.where[t] == (table[t].argmax() if best else -1)


@needs("rouge-score")
def test_recall_is_that_of_rouge_score():
    from rouge_score.rouge_scorer import RougeScorer

    target, document = "Dogs' barking, dogs barking at night!", "A dog barked at NIGHT: dogs barking"
    for stemmer in (True, False):
        index = TargetIndex([target], stemmer=stemmer)
        index.update(["nothing here", document])
        wanted = RougeScorer(["rouge2"], use_stemmer=stemmer).score(target, document)["rouge2"].recall
        assert index.best[0] == pytest.approx(wanted)
        assert index.where[0] == 1


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_other_n_grams_by_plain_counting(n):
    random.seed(n)
    words = "a b c d e f g h".split()
    targets = [" ".join(random.choices(words, k=9)) for _ in range(20)]
    documents = [" ".join(random.choices(words, k=40)) for _ in range(30)]
    index = TargetIndex(targets, ngram=n, stemmer=False)
    for start in range(0, 30, 7):
        index.update(documents[start : start + 7])
    wanted = np.array([[plain_recall(target, document, n) for document in documents] for target in targets])
    assert index.best == pytest.approx(wanted.max(axis=1))
    assert index.where.tolist() == np.where(wanted.max(axis=1) > 0, wanted.argmax(axis=1), -1).tolist()
    assert index.documents == 30


def test_targets_without_n_grams_overlap_with_nothing():
    index = TargetIndex(["", "one", "..."])
    shares, which = index.update(["one", ""])
    assert (index.best.tolist(), shares.tolist(), which.tolist()) == ([0, 0, 0], [0, 0], [-1, -1])
    assert TargetIndex([]).update(["a b"])[1].tolist() == [-1]
    with pytest.raises(UserError, match="ngram is 0"):
        TargetIndex(["a"], ngram=0)


def test_short_targets_are_measured_but_are_no_reason():
    index = TargetIndex(["see you", "see you at noon"], least_words=4)
    shares, which = index.update(["see you", "see you at noon"])
    assert index.best.tolist() == [1, 1]
    assert shares.tolist() == pytest.approx([1 / 3, 1])
    assert which.tolist() == [1, 1]


WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau up"
SUMMARY = "a summary of nine words that stands here alone"
TEST = Item(f"{WORDS} phi chi psi omega", [SUMMARY], "On the Greek Alphabet")


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (Item(TEST.document), "exact"),
        (Item(TEST.document.upper().replace(" ", ", ") + "."), "normalised"),
        (Item(f"{WORDS} and then it goes on in another way altogether"), "beginning"),
        (Item("something else", (), "ON THE GREEK ALPHABET!"), "title"),
        (Item(f"It says: {TEST.document[30:]}"), "document n-grams"),
        (Item(f"They wrote {TEST.summaries[0]}, and more."), "summary n-grams"),
        (Item(WORDS[:40], (), "On Greek"), None),
        (Item(""), None),
    ],
)
def test_every_reason_to_drop_a_document(document, reason):
    finder = OverlapFinder([Item("unrelated words", ["more of these"]), TEST])
    (hit,) = finder.check([document])
    assert (hit and (hit.item, hit.reason)) == (reason and (1, reason))
    assert finder.contaminated == ([1] if reason else [])
    assert finder.dropped == ({reason: 1} if reason else {})
    off = Rules(summary_recall=2, document_recall=2, beginning=0, title_words=0)
    (hit,) = OverlapFinder([TEST], off).check([document])
    assert (hit is not None) == (reason in ("exact", "normalised"))


def test_reasons_are_all_counted_and_the_surest_is_named():
    finder = OverlapFinder([TEST, Item("no words in common", ["none at all"])])
    hits = finder.check([TEST, Item("x y z")])
    assert hits[0].reason == "exact"
    assert hits[1] is None
    assert [len(finder.reasons[reason]) for reason in REASONS] == [1, 1, 1, 1, 1, 0]
    account = finder.as_dict()
    assert (account["contaminated_items"], account["corpus_documents"]) == (1, 2)
    assert account["items_at_least"]["1"] == {"summary": 0, "document": 1}
    with pytest.raises(UserError, match="no test items"):
        OverlapFinder([])


def test_the_batches_do_not_matter():
    random.seed(0)
    words = [f"w{i}" for i in range(30)]
    texts = [" ".join(random.choices(words, k=25)) for _ in range(40)]
    items = [Item(text, [text[:40], text[40:]]) for text in texts[:10]]
    documents = [Item(text) for text in [*texts[5:], texts[0][20:]]]
    rules = Rules(document_recall=0.1, summary_recall=0.3)
    whole, parts = OverlapFinder(items, rules), OverlapFinder(items, rules)
    hits = [hit for start in range(0, 36, 5) for hit in parts.check(documents[start : start + 5])]
    assert whole.check(documents) == hits
    assert whole.as_dict() == parts.as_dict()


# ------------------------------------------------------------------------------------------------ the command


def command(*arguments):
    return main(PROG, ABOUT, "0", VERBS, presets="pegasus", argv=["overlap", *map(str, arguments)])


def rows(path):
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture
def files(tmp_path):
    corpus = [{"id": f"c{i}", "text": f"document {i} with words {i * 7} of its own é"} for i in range(2500)]
    corpus[1300] = {"id": "hit", "text": TEST.document, "n": 1.5}
    corpus[2400]["text"] = f"It quotes: {TEST.summaries[0]}."
    test = [{"document": "clean words only here", "summary": "clean words"}]
    test.append({"document": TEST.document, "summary": TEST.summaries[0]})
    for name, entries in (("corpus", corpus), ("test", test)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return tmp_path


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_the_corpus_is_written_without_what_the_test_has(files, capsys, ending):
    clean = files / f"clean.{ending}"
    code = command(
        "--test", files / "test.jsonl", "--corpus", files / "corpus.jsonl",
        "--drop-list", files / "drop.jsonl", "--write-clean", clean,
        "--exclude-list", files / "ex.txt", "--out", files / "account.json",
    )  # fmt: skip
    assert code == 0
    assert "contaminated test items: 1 (50.0%)" in capsys.readouterr().out
    dropped = rows(files / "drop.jsonl")
    assert [(row["id"], row["reason"], row["test_item"]) for row in dropped] == [
        ("hit", "exact", 2),
        ("c2400", "summary n-grams", 2),
    ]
    assert dropped[0]["where"].endswith("corpus.jsonl:1301")
    before = rows(files / "corpus.jsonl")
    if ending == "jsonl.zst":
        from nonet.data.text import read_records

        kept = [record.fields for record in read_records(clean)]
    else:
        kept = rows(clean)
    assert kept == [row for row in before if row["id"] not in ("hit", "c2400")]
    assert (files / "ex.txt").read_text().splitlines()[1:] == ["2"]
    account = json.loads((files / "account.json").read_text())
    assert account["items"][1] == {"item": 2, "summary": 1.0, "document": 1.0}
    first = clean.read_bytes()
    command("--test", files / "test.jsonl", "--corpus", files / "corpus.jsonl", "--write-clean", clean)
    assert clean.read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--test test.jsonl --corpus none.jsonl", "none.jsonl: no such file"),
        (
            "--test test.jsonl --corpus corpus.jsonl --corpus-field body",
            "no field 'body'; .* with --corpus-f",
        ),
        (
            "--test test.jsonl --corpus corpus.jsonl --write-clean c.txt",
            "name a .jsonl, .jsonl.gz or .jsonl.zst",
        ),
        ("--test test.jsonl --corpus corpus.jsonl --write-clean corpus.jsonl", "corpus.jsonl is an input"),
        ("--test corpus.jsonl --corpus corpus.jsonl", "no summary field"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing_behind(files, monkeypatch, capsys, arguments, message):
    import re

    monkeypatch.chdir(files)
    before = sorted(files.iterdir())
    assert command(*arguments.split()) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.search(message, error)
    assert sorted(files.iterdir()) == before


@pytest.mark.slow
def test_scitldr_papers_are_found_among_abstracts():
    papers = rows(data_folder("papers", "abstracts.jsonl.gz"))
    documents = [Item(paper["abstract"], (), paper["title"]) for paper in papers]
    pairs = list(PairReader(data_folder("scitldr", "test.jsonl")))
    finder = OverlapFinder([Item(pair.document, pair.summaries, pair.title) for pair in pairs])
    for start in range(0, len(documents), 1024):
        finder.check(documents[start : start + 1024])
    account = finder.as_dict()
    assert account["corpus_documents"] == 36_000
    assert account["contaminated_items"] == sum(account["dropped_documents"].values()) == 16
    found = {reason: len(items) for reason, items in finder.reasons.items()}
    assert found == dict(zip(REASONS, (3, 6, 10, 10, 15, 1), strict=True))
    assert account["items_at_least"]["0.8"] == {"summary": 2, "document": 11}
    titles = {paper["title"].casefold() for paper in papers}
    assert all(finder.items[i].title.casefold() in titles for i in finder.reasons["title"])
