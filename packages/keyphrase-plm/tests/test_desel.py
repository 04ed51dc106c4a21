"""Decode-select: which candidates stay, by hand; and the command on tiny models, stopped and gone on with."""

import json

import pytest

from keyphrase_plm.commands import select as command
from keyphrase_plm.desel import Counts, select, thresholds, unseen
from keyphrase_plm.documents import Document, Prediction
from keyphrase_plm.presence import stemmer
from keyphrase_plm.select_options import SelectOptions
from keyphrase_plm.sequences import source_text, target_text
from nonet.errors import UserError

DOCUMENT = Document("d", "Sensor networks", "data aggregation in sensor networks")


class Written:
    """Stands for a generator: greedy phrases and sampled ones by document."""

    training = False

    def __init__(self, greedy, sampled):
        self.phrases = {"greedy": greedy, "sample": sampled}
        self.asked = []

    def eval(self):
        return self

    def train(self, mode):
        return self

    def encode(self, document, *, gold):
        return {"size": (3, 1), "cut": 2}

    def predict(self, documents, rows, options):
        self.asked.append(options)
        return [Prediction(each.id, tuple(self.phrases[options.mode][each.id]), cut=2) for each in documents]


class Likely:
    """Stands for a scorer: one table for all documents."""

    def __init__(self, table):
        self.table = table

    def phrase_log_likelihoods(self, documents, phrases):
        return [[self.table[phrase] for phrase in each] for each in phrases]


TABLE = {
    "sensor networks": -1.0, "data aggregation": -2.0, "wireless": -3.0, "routing": -5.0,  # anchors
    "sensor": -1.4, "aggregation": -1.6, "radio": -3.9, "energy": -4.1, "junk": float("-inf"),
}  # fmt: skip
ANCHORS = ["sensor networks", "wireless", "data aggregation", "routing"]
SAMPLED = ["sensor network", "energy", "radio", "aggregation", "sensor", "sensors", "junk", "wireless"]


def chosen(options=None, anchors=ANCHORS, sampled=SAMPLED):
    (found,) = select(Written({"d": anchors}, {"d": sampled}), Likely(TABLE), [DOCUMENT], options)
    return found


def test_candidates_stay_that_reach_the_mean_of_the_anchors_of_their_kind():
    """Present anchors: mean -1.5, so `sensor` (-1.4) stays and `aggregation` (-1.6) does not; absent ones:
    mean -4, so `radio` (-3.9) stays and `energy` (-4.1) does not."""
    found = chosen()
    assert found.prediction.phrases == (*ANCHORS, "sensor", "radio")
    assert found.prediction.scores == (-1.0, -3.0, -2.0, -5.0, -1.4, -3.9)
    assert (found.anchors, found.candidates, found.prediction.cut) == (4, 4, 2)


@pytest.mark.parametrize(
    ("options", "added"),
    [
        (SelectOptions(rule="least"), ("sensor", "aggregation", "radio", "energy")),
        (SelectOptions(margin=0.1), ("sensor", "aggregation", "radio", "energy")),
        (SelectOptions(margin=-0.2), ()),
    ],
)
def test_the_rule_and_the_margin_move_the_threshold(options, added):
    assert chosen(options).prediction.phrases[4:] == added


def test_a_document_without_anchors_gets_nothing_and_is_counted():
    found = chosen(anchors=[], sampled=["radio"])
    assert found.prediction.phrases == ()
    counts = Counts()
    counts.add(found)
    counts.add(chosen())
    assert (counts.documents, counts.anchors, counts.kept, counts.bare) == (2, 4, 2, 1)
    assert "1 documents without a greedy phrase" in counts.describe()


def test_an_anchor_too_long_for_the_scorer_stays_and_moves_no_threshold():
    found = chosen(anchors=[*ANCHORS, "junk"])
    assert found.prediction.phrases == (*ANCHORS, "junk", "sensor", "radio")
    assert found.prediction.scores == (-1.0, -3.0, -2.0, -5.0, -5.0, -1.4, -3.9)
    alone = chosen(anchors=["junk"], sampled=[])
    assert (alone.prediction.phrases, alone.prediction.scores) == (("junk",), (0.0,))


def test_anchors_of_one_kind_stand_for_the_other_where_it_has_none():
    assert thresholds([-1.0, -3.0], [True, True], "mean", 0.0) == {True: -2.0, False: -2.0}
    assert thresholds([-1.0, -3.0, -8.0], [True, True, False], "median", 1.0) == {True: -3.0, False: -9.0}
    assert thresholds([], [], "mean", 0.0) is None


def test_phrases_with_the_same_stems_are_one():
    stem = stemmer("porter")
    assert unseen(["neural networks"], ["neural network", "graphs", "graph", "b"], stem) == ["graphs", "b"]


def test_anchors_are_greedy_and_candidates_are_drawn_as_asked():
    generator = Written({"d": ANCHORS}, {"d": SAMPLED})
    list(select(generator, Likely(TABLE), [DOCUMENT], SelectOptions(samples=7, temperature=0.5, seed=3)))
    greedy, sampled = generator.asked
    assert greedy.mode == "greedy"
    assert (sampled.mode, sampled.samples, sampled.temperature, sampled.seed) == ("sample", 7, 0.5, 3)


def test_options_out_of_range_are_refused_by_name():
    with pytest.raises(UserError, match="samples is 0"):
        SelectOptions(samples=0)
    with pytest.raises(UserError, match="temperature is positive"):
        SelectOptions(temperature=0.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A generator (BART), a scorer (two BERTs) and a file of documents."""
    from keyphrase_plm.bert2bert import Bert2Bert
    from keyphrase_plm.seq2seq import Seq2Seq
    from keyphrase_plm.toy import corpus
    from keyphrase_plm.vocabulary import train_vocabulary

    place, documents = tmp_path_factory.mktemp("desel"), corpus(6, 0)
    texts = [source_text(each) + " ; " + target_text(each) for each in documents]
    Seq2Seq.tiny(train_vocabulary(texts, 300, kind="bpe"), seed=3).save(place / "model")
    one2one = train_vocabulary(texts, 200, kind="wordpiece")
    Bert2Bert.tiny(one2one, seed=4, targets="one2one").save(place / "scorer")
    lines = [
        {"id": each.id, "title": each.title, "body": each.body, "present": [], "absent": []}
        for each in documents
    ]
    (place / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return place


def options_for(folders, out, **more):
    return command.Options(
        input=(folders / "in.jsonl",), out=out, model=str(folders / "model"), scorer=str(folders / "scorer"),
        select=SelectOptions(samples=2, max_length=12), device="cpu", **more,
    )  # fmt: skip


def test_the_command_writes_a_line_a_document_and_goes_on_after_a_stop(folders, tmp_path, capsys):
    assert command.run(options_for(folders, tmp_path / "whole.jsonl")) == 0
    whole = (tmp_path / "whole.jsonl").read_text()
    assert [json.loads(line)["id"] for line in whole.splitlines()] == [f"toy-{k}" for k in range(6)]
    assert "6 documents" in capsys.readouterr().err

    import keyphrase_plm.desel as desel

    plain = desel.select

    def stopped(*args, **more):
        for place, selection in enumerate(plain(*args, **more)):
            if place == 3:
                raise KeyboardInterrupt
            yield selection

    desel.select = stopped
    try:
        with pytest.raises(KeyboardInterrupt):
            command.run(options_for(folders, tmp_path / "again.jsonl"))
    finally:
        desel.select = plain
    assert not (tmp_path / "again.jsonl").exists()
    assert command.run(options_for(folders, tmp_path / "again.jsonl")) == 0
    assert (tmp_path / "again.jsonl").read_text() == whole
    assert "3 documents were there already" in capsys.readouterr().err


def test_a_scorer_of_whole_lists_is_told_of(folders, tmp_path, capsys):
    import dataclasses

    options = dataclasses.replace(options_for(folders, tmp_path / "out.jsonl"), scorer=str(folders / "model"))
    assert command.run(options) == 0
    assert "trained with targets one2seq, not one2one" in capsys.readouterr().err
