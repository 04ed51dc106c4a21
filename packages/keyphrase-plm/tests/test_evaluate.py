"""The verb evaluate: joins, conventions and their names, odd input, the page, and a comparison."""

import json
import re
from pathlib import Path

import pytest

from keyphrase_plm.commands.evaluate import Options, run
from keyphrase_plm.documents import Document
from keyphrase_plm.evaluation import Joined, evaluate, join
from keyphrase_plm.evaluation_page import example, marked, spread, text
from keyphrase_plm.sequences import apart, characters
from nonet.errors import UserError
from nonet.metrics.keyphrases import convention

DOCUMENTS = [
    Document(
        "a",
        "real time data aggregation",
        "we study data aggregation in contention based sensor networks .",
        ("data aggregation", "sensor network"),
        ("wireless communication",),
    ),
    Document("b", "graph colouring", "a survey of algorithms for graphs .", ("graph colouring", "graph"), ()),
    Document("c", "deep learning", "no keyphrases here .", (), ("reinforcement learning",)),
]
PHRASES = {
    "a": [
        "sensor networks",
        "sensor network",
        "real time",
        "time data",
        "wireless communications",
        "routing",
    ],
    "b": ["graphs", "graph", "colour theory"],
    "c": [],
}


@pytest.fixture
def files(tmp_path):
    gold = "".join(
        json.dumps({"id": d.id, "title": d.title, "body": d.body, "present": d.present, "absent": d.absent})
        + "\n"
        for d in DOCUMENTS
    )
    (tmp_path / "gold.jsonl").write_text(gold)
    (tmp_path / "pred.jsonl").write_text(lines_of(PHRASES))
    (tmp_path / "pred.txt").write_text("".join(" ; ".join(PHRASES[d.id]) + "\n" for d in DOCUMENTS))
    return tmp_path


def lines_of(phrases):
    return "".join(json.dumps({"id": key, "phrases": some}) + "\n" for key, some in phrases.items())


def scored(files, **options):
    given = {"pred": files / "pred.jsonl", "gold": (files / "gold.jsonl",), "k": ("5", "M"), "resamples": 20}
    used = Options(**{**given, "out": files / "run", **options})
    run(used)
    return json.loads((used.out / "scores.json").read_text())


def f1(found):
    return {f"{row['class']}@{row['k']}": round(row["F1"], 5) for row in found["scores"]}


def test_a_file_with_ids_and_a_file_of_lines_have_the_numbers_of_the_published_scorer(files):
    printed = {
        "present@5": 0.19048, "present@M": 0.38095, "absent@5": 0.11111, "absent@M": 0.22222,
        "all@5": 0.26415, "all@M": 0.33871,
    }  # fmt: skip
    (files / "pred.jsonl").write_text(lines_of(dict(reversed(PHRASES.items()))))  # joined by id, in any order
    assert f1(scored(files)) == printed
    by_lines = scored(files, pred=files / "pred.txt", compat_empty=True, out=files / "run2")
    assert f1(by_lines) == printed
    micro = next(row["micro P"] for row in by_lines["scores"] if (row["class"], row["k"]) == ("absent", "M"))
    assert micro == 1 / 4, "an empty line is an absent phrase under --compat-empty"


def test_the_convention_stands_beside_every_number(files, capsys):
    found = scored(files, convention="meng", padded=True, source_limit=4)
    label = "meng, padded, text cut to 4 words"
    assert {row["convention"] for row in found["scores"]} == {label}
    printed = capsys.readouterr().out
    assert len(re.findall(rf"^(?:present|absent|all)@\w+ .* {label}$", printed, flags=re.MULTILINE)) == 6
    assert (files / "run" / "report.html").read_text().count(label) >= 13


def test_a_source_limit_moves_phrases_from_present_to_absent(files):
    found = scored(files, source_limit=4)
    assert found["counts"]["present"]["gold phrases"] == 3  # of four; `sensor network` comes later
    assert any("texts cut to 4 words: 3" in remark for remark in found["remarks"])


def test_missing_and_extra_ids_are_listed(files):
    said = {"a": ["x"], "z": ["y"]}
    (files / "pred.jsonl").write_text(lines_of(said))
    with pytest.raises(UserError) as caught:
        join(DOCUMENTS, files / "pred.jsonl")
    assert str(caught.value).endswith(
        "no prediction for 2 ids: 'b', 'c' (2 predictions, 3 documents); predictions of no document: "
        "1 id: 'z'; --missing empty or skip goes on"
    )
    assert join(DOCUMENTS, files / "pred.jsonl", missing="empty").phrases == [["x"], [], []]
    skipped = join(DOCUMENTS, files / "pred.jsonl", missing="skip")
    assert [document.id for document in skipped.documents] == ["a"]
    assert skipped.remarks("it") == [
        "it: no prediction for 2 ids: 'b', 'c'",
        "it: predictions of no document, left out: 1 id: 'z'",
    ]


def test_lines_that_do_not_pair_up_are_refused_with_both_counts_and_the_first_id(files):
    path = files / "pred.txt"
    path.write_text("x\ny\n")
    with pytest.raises(UserError, match=r"2 lines of predictions, but there are 3 documents; .* is 'c'"):
        join(DOCUMENTS, path)
    path.write_text("x\ny\n\nz\n")
    with pytest.raises(UserError, match=r"has 4 lines .* 3 documents; line 4 is the first one too many"):
        join(DOCUMENTS, path)
    assert len(join(DOCUMENTS, path, limited=True).phrases) == 3


def test_blank_lines_keep_their_place_and_are_counted(files):
    (files / "src.source").write_text("graph theory [sep] on graphs\n\nnets [sep] deep nets\n")
    (files / "src.target").write_text("graph\ntree\n\n")
    (files / "p.txt").write_text("graphs\n ; \ndeep net\n")
    found = scored(files, pred=files / "p.txt", gold=(files / "src.source",), convention="chan")
    assert found["counts"]["documents"] == 3
    assert found["counts"]["all"]["predictions"] == 2, "only separators say nothing"
    remarks = " | ".join(found["remarks"])
    assert "documents without text: 1" in remarks
    assert "documents without gold phrases: 1" in remarks


def test_words_and_signs_are_taken_apart_where_the_gold_file_holds_plain_text(files):
    (files / "plain.jsonl").write_text(
        json.dumps(
            {
                "id": "a",
                "title": "A scan",
                "abstract": "of C++, and laser-scan, too",
                "keywords": "laser-scan",
            }
        )
    )
    (files / "p.jsonl").write_text(lines_of({"a": ["laser-scan", "scan"]}))
    gold = (files / "plain.jsonl",)
    found = scored(files, pred=files / "p.jsonl", gold=gold)
    assert found["counts"]["present"]["gold phrases"] == 1
    assert f1(found)["present@M"] == pytest.approx(2 / 3, abs=1e-5)
    found = scored(files, pred=files / "p.jsonl", gold=gold, tokenize="no", out=files / "kept")
    assert found["counts"]["present"]["predictions"] == 1, "`laser-scan,` is one word then"


def test_predictions_of_a_tagger_can_be_taken_in_the_order_of_the_text(files):
    rows = [
        {"id": "a", "phrases": ["x", "y"], "scores": [-0.1, -0.2], "spans": [[5, 6], [0, 1]]},
        {"id": "b", "phrases": []},
    ]
    (files / "pred.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert join(DOCUMENTS[:2], files / "pred.jsonl").phrases[0] == ["x", "y"]
    assert join(DOCUMENTS[:2], files / "pred.jsonl", order="text").phrases[0] == ["y", "x"]
    (files / "pred.jsonl").write_text(lines_of(PHRASES))
    with pytest.raises(UserError, match="the prediction of 'a' has no spans"):
        join(DOCUMENTS, files / "pred.jsonl", order="text")


def test_another_stemmer_takes_the_name_away(files):
    found = scored(files, stemmer="none")
    assert {row["convention"] for row in found["scores"]} == {"own (as chan, stemmer none)"}
    with pytest.raises(UserError, match="unknown stemmer 'lovins'"):
        scored(files, stemmer="lovins", out=files / "other")
    assert not (files / "other").exists()


def test_two_systems_are_compared_on_the_same_documents(files, capsys):
    (files / "other.jsonl").write_text(lines_of({"a": ["routing"], "b": ["graph colouring"], "c": []}))
    found = scored(files, compare=files / "other.jsonl")
    first, second = f1(found), f1(found["against"])
    for row in found["comparison"]:
        key = f"{row['of']}@{row['k']}"
        assert row["difference"] == pytest.approx(first[key] - second[key], abs=2e-5)
        assert 0 < row["p"] <= row["p_holm"] <= 1
    assert "difference of F1" in capsys.readouterr().out


def test_the_page_marks_phrases_in_the_text_by_kind():
    words = "Deep nets, deep graphs and a net".split()
    page = marked(words, [("wrong", "graph"), ("missed", "net"), ("right", "deep net")])
    kinds = re.findall(r'title="([^"]+)"[^>]*>([^<]+)<', page)
    assert kinds == [
        ("predicted and gold", "Deep nets,"),
        ("predicted, not gold", "graphs"),
        ("gold, not predicted", "net"),
    ]
    assert re.sub(r"<[^>]+>", "", page) == " ".join(words)


def test_the_page_lists_present_and_absent_phrases_and_obeys_no_html_of_the_text():
    document = Document("<b>1", "<script>", "graphs & nets", ("graph",), ("tree",))
    said = ["nets", "trees", "sea", "<img>"]
    found = evaluate(join_of([document], [said]), convention("chan"), ("M",), resamples=5)
    shown = example(found, 0)
    assert "<script>" not in shown
    assert "<img>" not in shown
    assert "&lt;script&gt;" in shown
    present, absent = (re.findall(r">([^<>]+)</mark>", part) for part in shown.split("<small>")[1:])
    assert (present, absent) == (["graph", "nets"], ["tree", "sea", "&lt;img&gt;"])


def test_examples_go_from_the_worst_document_to_the_best():
    found = evaluate(join_of(DOCUMENTS, list(PHRASES.values())), convention("chan"), ("M",), resamples=5)
    assert spread(found, 8) == [2, 0, 1]  # F1 0, 4/8 and 2/4
    assert spread(found, 0) == []


def test_semf1_of_gold_is_one_where_an_encoder_is_given():
    gold = [[*d.present, *d.absent] for d in DOCUMENTS]
    found = evaluate(
        join_of(DOCUMENTS, gold),
        convention("kpeval"),
        ("M",),
        encode=lambda phrases: [[len(phrase), 1.0] for phrase in phrases],
        resamples=5,
    )
    assert found.as_dict()["semantic"]["SemF1"] == 1
    assert "SemF1 100.00 (kpeval" in text(found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 1.0}, "level is 1.0; it lies between 0 and 1"),
        ({"resamples": 0}, "resamples is 0; it is at least 1"),
        ({"examples": -1}, "cannot be negative"),
        ({"k": ("5", "Q")}, "unknown cut 'Q'"),
        ({"source_limit": 0}, "source_limit is 0; it is at least 1"),
        ({"pred": "nowhere.txt"}, "nowhere.txt: no such file"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_numbers(files, options, message):
    options = {name: Path(value) if name == "pred" else value for name, value in options.items()}
    with pytest.raises(UserError, match=re.escape(message)):
        scored(files, **options)
    assert not (files / "run").exists()


def join_of(documents, phrases):
    return Joined(list(documents), [list(some) for some in phrases])


def test_a_number_s_mark_stays_one_word_when_signs_are_set_apart():
    document = Document("a", "", "we scan [digit]d images, fast.", ("scan [digit]d",), ())
    document = document._replace(body="we scan [digit] d images, fast.", present=("[digit] d images",))
    joined = Joined([document], [["[digit] d images"]])
    found = evaluate(joined, convention("chan"), ("M",), tokenise=apart, resamples=10)
    assert found.scores.macro("present", "M") == (1.0, 1.0, 1.0)


def test_texts_beyond_english_lose_the_convention_s_name_under_porter():
    document = Document(
        "a",
        "\u043d\u0435\u0439\u0440\u043e\u043d\u043d\u044b\u0435 \u0441\u0435\u0442\u0438",
        "\u0433\u0440\u0430\u0444\u044b",
        ("\u0433\u0440\u0430\u0444\u044b",),
    )
    joined = Joined([document], [["\u0433\u0440\u0430\u0444\u044b"]])
    found = evaluate(joined, convention("chan"), ("M",), resamples=10)
    assert found.label == "own (as chan, texts beyond English)"
    assert "give --stemmer none" in " ".join(found.remarks)
    asked = evaluate(joined, convention("chan"), ("M",), stemmer_given=True, resamples=10)
    assert asked.label == "chan"
    assert asked.remarks == found.remarks
    plain = evaluate(joined, convention("chan", stemmer="none"), ("M",), resamples=10)
    assert plain.label == "own (as chan, stemmer none)"
    assert not plain.remarks
    english = evaluate(Joined(DOCUMENTS[:1], [["routing"]]), convention("chan"), ("M",), resamples=10)
    assert english.label == "chan"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\u795e\u7ecf\u7f51\u7edc", ["\u795e", "\u7ecf", "\u7f51", "\u7edc"]),
        ("\u7528BERT\u76843-d", ["\u7528", "BERT", "\u7684", "3", "-", "d"]),
        ("\u0e17\u0e35\u0e48", ["\u0e17\u0e35\u0e48"]),  # one Thai letter with a vowel and a tone mark
        ("a [digit] \u56fe", ["a", "[digit]", "\u56fe"]),
        ("  ", []),
    ],
)
def test_characters_are_words_where_there_are_no_spaces(text, words):
    assert characters(text) == words


NETS, GRAPH = "\u795e\u7ecf\u7f51\u7edc", "\u56fe"


@pytest.fixture
def chinese(tmp_path):
    """`neural nets and graphs`, with `nets` and `tree` as gold phrases."""
    document = {
        "id": "a",
        "title": f"{NETS}\u548c{GRAPH}",
        "body": "",
        "present": [NETS],
        "absent": ["\u6811"],
    }
    (tmp_path / "gold.jsonl").write_text(json.dumps(document) + "\n")
    (tmp_path / "pred.jsonl").write_text(lines_of({"a": [NETS, GRAPH, "\u6797"]}))
    return tmp_path


def test_texts_without_spaces_are_scored_by_characters(chinese):
    found = scored(chinese, tokenize="characters", stemmer="none")
    assert found["counts"]["present"]["gold phrases"] == 1
    assert found["counts"]["present"]["predictions"] == 2, "two of three stand in the text, one is right"
    assert f1(found)["present@M"] == pytest.approx(2 / 3, abs=1e-5)
    assert {row["convention"] for row in found["scores"]} == {
        "own (as chan, stemmer none), words are characters"
    }
    page = (chinese / "run" / "report.html").read_text()
    kinds = re.findall(r'<mark title="([^"]+)"[^>]*>([^<]+)<', page[page.index("<strong>a</strong>") :])
    assert kinds[:2] == [("predicted and gold", NETS), ("predicted, not gold", GRAPH)]
    found = scored(chinese, tokenize="auto", stemmer="none", out=chinese / "words")
    assert found["counts"]["present"]["gold phrases"] == 0, "the whole title is one word"


def test_porter_asked_for_keeps_the_convention_s_name_and_a_remark_is_made_once(chinese, capsys):
    found = scored(chinese, compare=chinese / "pred.jsonl", stemmer="porter", tokenize="characters")
    assert {row["convention"] for row in found["scores"]} == {"chan, words are characters"}
    assert capsys.readouterr().out.count("most letters are not English ones") == 1
    found = scored(chinese, tokenize="characters", out=chinese / "auto")
    assert {row["convention"] for row in found["scores"]} == {
        "own (as chan, texts beyond English), words are characters"
    }
    assert capsys.readouterr().out.count("most letters are not English ones") == 1
