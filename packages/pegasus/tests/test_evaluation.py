"""Scores against rouge-score, plain searches, hand cases and published examples; comparisons; the command."""

import json
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonet.errors import UserError
from nonet.metrics.stats import paired_bootstrap
from nonet.testing import data_folder, needs, run_cli
from pegasus import bleu
from pegasus.evaluation import COMPARED, compare, evaluate
from pegasus.evaluation_page import comparison_text, page, text
from pegasus.extractiveness import extractiveness, fragments
from pegasus.pairs import PairReader
from pegasus.predictions import read_lines, read_numbers
from pegasus.repetition import repetition

WORDS = st.lists(st.sampled_from("a b c d".split()), max_size=14)


# ------------------------------------------------------------------------------------------------- repetition


def plain_repetition(words):
    """Consecutive repeats by trying every span and every period."""
    inside, longest = set(), 0
    for start in range(len(words)):
        for end in range(start + 2, len(words) + 1):
            size = end - start
            for n in range(1, size // 2 + 1):
                if size % n == 0 and all(words[i] == words[i + n] for i in range(start, end - n)):
                    inside.update(range(start, end))
                    longest = max(longest, size)
    return len(inside), longest


@given(WORDS)
def test_consecutive_repeats_are_those_of_a_search_over_all_spans(words):
    found = repetition(" ".join(words))
    total, longest = plain_repetition(words)
    size = max(len(words), 1)
    assert (found["regsTCR"], found["regsLCR"]) == (total / size, longest / size)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", dict(regs1=0, regs2=0, regs3=0, regsTCR=0, regsLCR=0)),
        ("a a a b c b", dict(regs1=5 / 6, regs2=2 / 5, regs3=0)),
        ("a b a b c b", dict(regs1=5 / 6, regs2=2 / 5, regs3=0)),
        ("a b a b c a b c", dict(regs1=1, regs2=5 / 7, regs3=2 / 6, regsTCR=1, regsLCR=6 / 8)),
        ("a b e f g h", dict(regsTCR=0, regsLCR=0)),
        ("b b a b b b", dict(regsTCR=5 / 6, regsLCR=3 / 6)),
        ("things are said three times. things are said three times. this is broken broken broken",
         dict(regsTCR=13 / 15, regsLCR=10 / 15)),
        ("Important things should be stated three times. " * 3 + "This is a " + "broken " * 5 + "sentence.",
         dict(regsTCR=26 / 30, regsLCR=21 / 30)),
    ],
)  # fmt: skip
def test_repetition_by_hand(words, expected):
    found = repetition(words)
    assert {name: found[name] for name in expected} == pytest.approx(expected)


# --------------------------------------------------------------------------------------------- extractiveness


def plain_fragments(document, summary):
    """Figure 3 of Grusky et al. 2018, line by line."""
    i, j, found = 0, 0, []
    while i < len(summary):
        best = 0
        while j < len(document):
            if summary[i] == document[j]:
                k = 0
                while i + k < len(summary) and j + k < len(document) and summary[i + k] == document[j + k]:
                    k += 1
                best = max(best, k)
                j += k
            else:
                j += 1
        if best:
            found.append((i, best))
        i, j = i + max(best, 1), 0
    return found


@given(WORDS, WORDS)
def test_fragments_are_those_of_the_published_search(document, summary):
    numbers = {word: i for i, word in enumerate("abcd")}
    arrays = [np.array([numbers[word] for word in words], np.int32) for words in (document, summary)]
    wanted = plain_fragments(document, summary)
    assert [tuple(row) for row in fragments(*arrays).tolist()] == wanted
    (found,) = extractiveness([" ".join(document)], [[" ".join(summary)]])[0]
    size = max(len(summary), 1)
    coverage, density = sum(length for _, length in wanted) / size, sum(n * n for _, n in wanted) / size
    assert found == pytest.approx((coverage, density, density / size))


def test_extractiveness_by_hand():
    found = extractiveness(["a b c d e f g", "x"], [["C d, e e A-b z", ""], []])
    assert found[0][0] == pytest.approx((6 / 7, 14 / 7, 14 / 49))
    assert found[0][1] == (0, 0, 0)
    assert found[1] == []
    assert extractiveness(["a a a b"], [["a a b"]])[0][0].density == pytest.approx((4 + 1) / 3)  # not 9 / 3
    with pytest.raises(UserError, match="1 documents but 2 lists"):
        extractiveness(["a"], [[], []])


def test_copying_from_a_long_document_is_quick():
    random.seed(0)
    document = " ".join(random.choice("the of a cat dog".split()) for _ in range(100_000))
    assert extractiveness([document], [[document[:3000]]])[0][0].normalised == 1


# ------------------------------------------------------------------------------------------------------- BLEU


def test_tokens_of_bleu():
    assert bleu.tokens("At $3.50, so.") == ["At", "$", "3.50", ",", "so", "."]
    assert bleu.tokens("It's «1,000–2,000» (50%)") == [
        "It",
        "'",
        "s",
        "«",
        "1,000–2,000",
        "»",
        "(",
        "50",
        "%",
        ")",
    ]
    assert bleu.tokens("a+b ≠ c\n") == ["a", "+", "b", "≠", "c"]
    assert bleu.tokens("") == []


def plain_bleu(references, prediction):
    """The formula for one prediction without smoothing, in exact counts over tokens that are words."""
    said, known = prediction.split(), [reference.split() for reference in references]
    product = 1.0
    for n in range(1, 5):
        grams = [tuple(said[i : i + n]) for i in range(len(said) - n + 1)]
        hits = 0
        for gram in set(grams):
            most = max(sum(tuple(ref[i : i + n]) == gram for i in range(len(ref))) for ref in known)
            hits += min(grams.count(gram), most)
        product *= hits / len(grams) if grams else 0
    length = min((abs(len(ref) - len(said)), len(ref)) for ref in known)[1]
    brevity = 1 if len(said) >= length else math.exp(1 - length / len(said)) if said else 0
    return brevity * product**0.25


@given(st.lists(WORDS.map(" ".join), min_size=1, max_size=3), WORDS.map(" ".join))
def test_bleu_is_its_formula_wherever_nothing_is_smoothed(references, prediction):
    counts = bleu.counts(references, prediction)
    if counts[:4].all():
        assert bleu.score(counts) == pytest.approx(plain_bleu(references, prediction))
    elif not counts[0]:
        assert bleu.score(counts) == 0


def test_bleu_by_hand():
    # 5 of 6 words, 3 of 5 pairs, 2 of 4 triples, 1 of 3 quadruples; one word shorter than the reference
    counts = bleu.counts(["the cat sat on the mat today"], "the cat sat on a mat")
    assert counts.tolist() == [5, 3, 2, 1, 6, 5, 4, 3, 6, 7]
    expected = math.exp(1 - 7 / 6) * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
    assert bleu.score(counts) == pytest.approx(expected)
    # no common triple and quadruple: 1 / (2 * 7) and 1 / (4 * 6); the value is sacrebleu 2.6's
    counts = bleu.counts(
        ["the quick brown fox jumps over the lazy dog"], "the fast brown fox jumped over the lazy dog"
    )
    assert bleu.score(counts) == pytest.approx(0.36889397323344056)
    assert bleu.score(bleu.counts(["a b c d x"], "a b c d")) == pytest.approx(math.exp(1 - 5 / 4))
    short = bleu.counts(["p q r s t u v w"], "p q a r s b t")  # 5/7 2/6, then 1/(2*5) 1/(4*4)
    assert bleu.score(short) == pytest.approx(math.exp(1 - 8 / 7) * (5 / 7 * 2 / 6 * 0.1 / 16) ** 0.25)
    assert bleu.score(bleu.counts(["a b"], "a b")) == 0  # shorter than four tokens


# ----------------------------------------------------------------------------------------------------- scores

DOCUMENTS = [
    "The cat sat on the mat. It purred. Then it slept.",
    "A dog barked at night. Nobody slept.",
    "Rain fell.",
]
REFERENCES = [["A cat sat on a mat.\nIt slept.", "The cat slept."], ["A dog barked."], ["It rained all day."]]
PREDICTIONS = ["The cat sat on the mat.\nThen it slept.", "A dog barked at night.", " "]


@needs("rouge-score")
def test_rouge_is_that_of_rouge_score_and_the_best_of_several_references():
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=True)
    references, predictions = [*REFERENCES, ["dogs barked\nloudly"]], [*PREDICTIONS, "loud dog barks"]
    report = evaluate(predictions, references, lines="given")
    for i, (known, said) in enumerate(zip(references, predictions, strict=True)):
        for name in ("rouge1", "rouge2", "rougeL", "rougeLsum"):
            best = max(
                (scorer.score(reference, said)[name] for reference in known), key=lambda score: score.fmeasure
            )
            assert report.scores[name][i] == best.fmeasure
            assert report.scores[f"{name}_precision"][i] == best.precision
            assert report.scores[f"{name}_recall"][i] == best.recall
    for name, interval in report.means.items():
        assert interval.mean == pytest.approx(report.scores[name].mean())
        assert interval.low <= interval.mean + 1e-12
        assert interval.mean <= interval.high + 1e-12


def test_lengths_repetition_and_copying_of_both_sides():
    report = evaluate(PREDICTIONS, REFERENCES, DOCUMENTS)
    assert report.scores["words"].tolist() == [9, 5, 0]
    assert report.scores["reference_words"].tolist() == [(8 + 3) / 2, 3, 4]
    assert report.scores["words_ratio"] == pytest.approx([18 / 11, 5 / 3, 0])
    assert report.scores["characters"].tolist() == [len(said) for said in PREDICTIONS]
    assert report.scores["coverage"].tolist() == [1, 1, 0]
    assert report.scores["density"][1] == 5
    assert report.scores["normalised_density"][1] == 1
    assert report.scores["reference_coverage"][1] == 1
    assert report.scores["regs1"][0] == repetition(PREDICTIONS[0])["regs1"]
    assert "coverage" not in evaluate(PREDICTIONS, REFERENCES).scores


def test_blank_predictions_score_nothing_and_are_counted():
    report = evaluate(PREDICTIONS, REFERENCES, DOCUMENTS)
    assert report.counts == {
        "items": 3, "references": 4, "blank_predictions": 1, "blank_references": 0,
        "most_frequent_prediction": 1,
    }  # fmt: skip
    assert [report.scores[name][2] for name in ("rouge1", "rougeLsum", "sentence_bleu", "regsTCR")] == [
        0,
        0,
        0,
        0,
    ]
    assert "1 blank predictions were scored 0" in text(report)
    blank = evaluate([""], [[""]])
    assert blank.means["rouge1"] == (0, 0, 0)
    assert "1 items have only blank references" in text(blank)


def test_the_newline_symbol_becomes_a_line_end_with_a_remark():
    marked = evaluate(["a b.<n>c d."], [["a b. <n> c d.", "x"]], lines="given")
    assert marked.predictions == ["a b.\nc d."]
    assert marked.references == [["a b.\nc d.", "x"]]
    assert marked.scores["rougeLsum"][0] == 1
    assert "1 predictions had <n>, which was turned into a line end" in marked.notes
    assert "1 references had <n>, which was turned into a line end" in text(marked)


def test_rougelsum_finds_sentences_where_there_are_no_lines():
    said, known = "One two. Three four.", "Three four. One two."
    whole = evaluate([said], [known], lines="given").scores["rougeLsum"][0]
    assert whole == evaluate([said], [known], lines="given").scores["rougeL"][0] == 0.5
    for lines in ("auto", "split"):
        report = evaluate([said], [known], lines=lines)
        assert report.scores["rougeLsum"][0] == 1
        assert report.scores["rougeL"][0] == 0.5
        assert len([note for note in report.notes if "split into sentences" in note]) == 2
    lined = evaluate([said, "x\ny"], [known, "x\ny"])  # half of the texts have line ends, so these are meant
    assert lined.scores["rougeLsum"].tolist() == [0.5, 1]


def test_wrong_numbers_of_texts_are_refused_with_both():
    with pytest.raises(UserError, match="2 predictions but 3 references"):
        evaluate(["a", "b"], ["a", "b", "c"])
    with pytest.raises(UserError, match="1 predictions but 2 documents"):
        evaluate(["a"], ["a"], ["a", "b"])
    with pytest.raises(UserError, match="no predictions"):
        evaluate([], [])
    with pytest.raises(UserError, match="item 2 has no reference"):
        evaluate(["a", "b"], [["a"], []])
    with pytest.raises(UserError, match="level is 2"):
        evaluate(["a"], ["a"], level=2)


def test_selecting_items_is_scoring_them_alone():
    report = evaluate(PREDICTIONS, REFERENCES, DOCUMENTS, lines="given", seed=3)
    rest = report.select([0, 2])
    alone = evaluate(
        [PREDICTIONS[0], PREDICTIONS[2]],
        [REFERENCES[0], REFERENCES[2]],
        [DOCUMENTS[0], DOCUMENTS[2]],
        lines="given",
        seed=3,
    )
    assert rest.as_dict() == alone.as_dict()
    assert report.as_dict() == evaluate(PREDICTIONS, REFERENCES, DOCUMENTS, lines="given", seed=3).as_dict()
    with pytest.raises(UserError, match="no item is left"):
        report.select([])


def systems(n=60):
    """A system that drops every third word, and one that drops every second."""
    random.seed(1)
    words = "red blue green cat dog bird runs sleeps over under".split()
    known = [" ".join(random.choices(words, k=12)) for _ in range(n)]
    good = [" ".join(word for i, word in enumerate(line.split()) if i % 3) for line in known]
    poor = [" ".join(word for i, word in enumerate(line.split()) if i % 2) for line in known]
    return known, good, poor


def test_a_better_system_is_found_better_and_a_system_equals_itself():
    known, good, poor = systems()
    first, second = evaluate(good, known), evaluate(poor, known)
    rows = compare(first, second, seed=5)
    assert [row.measure for row in rows] == list(COMPARED)
    plain = paired_bootstrap(first.scores["rouge1"], second.scores["rouge1"], 5, 10_000)
    assert (rows[0].difference, rows[0].low, rows[0].high, rows[0].p) == plain
    assert rows[0].low > 0
    assert rows[0].p_holm >= rows[0].p
    assert all(row.p == 1 and row.difference == 0 for row in compare(first, first))
    assert "ROUGE-1" in comparison_text(rows, ("a", "b"))
    with pytest.raises(UserError, match="60 predictions against 2"):
        compare(first, evaluate(["a", "b"], ["a", "b"]))
    with pytest.raises(UserError, match="different references"):
        compare(first, evaluate(good, good))


def test_the_page_shows_examples_and_obeys_no_html(tmp_path):
    nasty = "<script>alert(1)</script> the cat sat"
    known, good, _ = systems(12)
    report = evaluate(
        [nasty, *good], [["the cat sat down"], *[[line] for line in known]], ["the cat sat", *known]
    )
    path = tmp_path / "report.html"
    page(report, comparison=compare(report, report), examples=2).save(path)
    html = path.read_text()
    assert "<script>alert" not in html
    assert "&lt;script&gt;" in html
    assert html.count("<small>prediction</small>") == 4
    assert 'inherit">cat</mark>' in html


def test_lead_scores_on_scitldr():
    pairs = list(PairReader(data_folder("scitldr", "test.jsonl")))
    report = evaluate(
        [pair.sentences[0] for pair in pairs],
        [pair.summaries for pair in pairs],
        [pair.document for pair in pairs],
    )
    assert report.headline == "R1/R2/RL 31.29/12.33/24.98 (rougeL)"
    assert report.means["coverage"].mean == pytest.approx(1)
    assert report.corpus_bleu == pytest.approx(0.1049, abs=5e-5)


# ------------------------------------------------------------------------------------------------ the command


def lines(path, texts):
    path.write_text("".join(f"{line}\n" for line in texts), encoding="utf-8")
    return path


def test_predictions_are_read_with_their_blank_lines(tmp_path):
    assert read_lines(lines(tmp_path / "a.txt", ["x", "", "y\\nz"])) == ["x", "", "y\\nz"]
    assert read_lines(tmp_path / "a.txt", escaped=True) == ["x", "", "y\nz"]
    assert read_lines(lines(tmp_path / "a.hypo", ["x"])) == ["x"]
    rows = [json.dumps({"where": "d:1", "summary": "s\nt", "score": -1.0}), json.dumps({"prediction": None})]
    assert read_lines(lines(tmp_path / "a.jsonl", rows)) == ["s\nt", ""]
    with pytest.raises(UserError, match=r"b.jsonl:1: no field 'prediction' or .*; fields are x"):
        read_lines(lines(tmp_path / "b.jsonl", ['{"x": 1}']))
    with pytest.raises(UserError, match=r"c.jsonl:1: field 'text' is a int"):
        read_lines(lines(tmp_path / "c.jsonl", ['{"text": 1}']))


def test_numbers_to_leave_out(tmp_path):
    assert read_numbers(lines(tmp_path / "a", ["# why", "3", "", "1 # x"]), 3) == {0, 2}
    for bad in ("0", "4", "x"):
        with pytest.raises(UserError, match=f"b:2: '{bad}' is not the number of an item, 1 to 3"):
            read_numbers(lines(tmp_path / "b", ["1", bad]), 3)
    with pytest.raises(UserError, match="no such file"):
        read_numbers(tmp_path / "c", 3)


def command(*arguments, cwd):
    from nonet.cli import main
    from pegasus.cli import ABOUT, PROG, VERBS

    return main(PROG, ABOUT, "0", VERBS, presets="pegasus", argv=["evaluate", *map(str, arguments)])


def test_two_files_are_scored_and_compared(tmp_path, capsys):
    known, good, poor = systems()
    for name, texts in (("r.txt", known), ("p.txt", good), ("q.txt", poor), ("ex.txt", ["1", "2"])):
        lines(tmp_path / name, texts)
    out = tmp_path / "out"
    code = command(
        "--pred", tmp_path / "p.txt", "--ref", tmp_path / "r.txt", "--against", tmp_path / "q.txt",
        "--exclude", tmp_path / "ex.txt", "--out", out, cwd=tmp_path,
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert code == 0
    assert "60 items: R1/R2/RL" in printed
    assert "without 2 items of" in printed
    found = json.loads((out / "scores.json").read_text())
    assert found["scores"]["items"] == 60
    assert found["without_excluded"]["items"] == 58
    report = evaluate(good, known)
    assert found["scores"]["scores"]["rouge1"]["mean"] == report.means["rouge1"].mean
    assert found["comparison"][0]["difference"] > 0
    rows = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
    assert [row["item"] for row in rows] == list(range(1, 61))
    assert rows[7]["rouge2"] == pytest.approx(report.scores["rouge2"][7], abs=1e-6)
    assert read_lines(out / "predictions.jsonl") == good
    assert (out / "report.html").stat().st_size > 10_000
    assert (out / "options.yaml").exists()


def test_pairs_are_scored_with_the_paper_s_rouge_l_and_skipped_ones_take_their_predictions_along(
    tmp_path, capsys
):
    rows = [{"article": f"a b c {i} and more", "highlights": "a b c" if i != 1 else ""} for i in range(4)]
    data = lines(tmp_path / "d.jsonl", map(json.dumps, rows))
    said = lines(tmp_path / "p.txt", ["a b c", "junk", "a b c", "a b c"])
    assert command("--pred", said, "--data", data, "--skip-bad", cwd=tmp_path) == 0
    printed = capsys.readouterr()
    assert "3 items: R1/R2/RL 100.00/100.00/100.00 (rougeLsum)" in printed.out
    assert "laid out as cnn_dailymail" in printed.err
    assert "1 skipped (empty 'highlights')" in printed.err
    assert command("--pred", said, "--data", data, "--limit", 1, "--rouge-l", "rougeL", cwd=tmp_path) == 0
    assert "1 items: R1/R2/RL 100.00/100.00/100.00 (rougeL)" in capsys.readouterr().out


def test_several_reference_files_and_documents(tmp_path, capsys):
    said = lines(tmp_path / "p.txt", ["a b", "c d"])
    one, two = lines(tmp_path / "1.txt", ["x y", "c d"]), lines(tmp_path / "2.txt", ["a b", ""])
    docs = lines(tmp_path / "d.txt", ["a b q", "c q d"])
    assert command("--pred", said, "--ref", one, two, "--docs", docs, cwd=tmp_path) == 0
    printed = capsys.readouterr().out
    assert "2 items: R1/R2/RL 100.00/100.00/100.00" in printed
    assert "copied: coverage" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--ref r.txt", "give either --pred PREDICTIONS or --model MODEL"),
        ("--pred p.txt", "give either --ref REFERENCES or --data PAIRS"),
        ("--pred r.txt --ref r.txt --exclude p.txt", "p.txt:1: 'a' is not the number of an item, 1 to 3"),
        ("--model m --ref r.txt", "--model needs documents to summarise"),
        ("--pred p.txt --ref r.txt", "p.txt has 2 predictions but there are 3 references"),
        ("--pred p.txt --ref r.txt p.txt", "r.txt has 3 references and p.txt has 2"),
        ("--pred r.txt --ref r.txt --docs p.txt", "p.txt has 2 documents but there are 3 references"),
        ("--pred r.txt --ref r.txt --limit 2", "--limit goes with --data"),
        ("--pred none.txt --ref r.txt", "none.txt: no such file"),
        ("--pred r.txt --ref r.txt --dataset xsun", "did you mean 'xsum'"),
        ("--pred r.txt --ref r.txt --against p.txt", "p.txt has 2 predictions but there are 3 references"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "p.txt", ["a", "b"])
    lines(tmp_path / "r.txt", ["a", "b", "c"])
    assert command(*arguments.split(), cwd=tmp_path) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert command(*arguments.split(), "--out", "out", cwd=tmp_path) == 2
    assert not (tmp_path / "out").exists()


def test_a_model_is_asked_for_summaries_in_order(tmp_path, monkeypatch, capsys):
    import pegasus.predict

    asked = {}

    def summarize_texts(model, documents, options, *, batch_tokens, device):
        asked.update(model=model, beams=options.beams, batch_tokens=batch_tokens, device=device)
        for document in documents:
            yield document.split(".")[0]

    monkeypatch.setattr(pegasus.predict, "summarize_texts", summarize_texts)
    monkeypatch.chdir(tmp_path)
    rows = [{"document": f"first {i}. second", "summary": f"first {i}"} for i in range(5)]
    lines(tmp_path / "d.jsonl", map(json.dumps, rows))
    assert (
        command("--model", "some/model", "--data", "d.jsonl", "--beams", 2, "--device", "cpu", cwd=tmp_path)
        == 0
    )
    assert asked == {"model": "some/model", "beams": 2, "batch_tokens": 8192, "device": "cpu"}
    assert "5 items: R1/R2/RL 100.00/100.00/100.00" in capsys.readouterr().out
    (folder,) = (tmp_path / "runs" / "pegasus").iterdir()
    assert read_lines(folder / "predictions.jsonl")[3] == "first 3"


def test_help_names_every_option_without_loading_numpy():
    found = run_cli("pegasus", "evaluate", "--help")
    assert found.returncode == 0
    assert "--against" in found.stdout
    code = "import sys, pegasus.commands.evaluate, pegasus.commands.overlap; sys.exit('numpy' in sys.modules)"
    import subprocess
    import sys

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
