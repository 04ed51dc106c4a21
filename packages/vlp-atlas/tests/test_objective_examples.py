"""The worked examples of objectives, and that their records name the function they run."""

import pytest

from nonet.vision_language import objectives
from vlp_atlas import yaml_reader
from vlp_atlas.building import CATALOGUE
from vlp_atlas.oracles import completion, matching

TOPICS = {"completion": completion.ORACLES, "matching": matching.ORACLES}
ORACLES = {**completion.ORACLES, **matching.ORACLES}
WRITTEN = {topic: yaml_reader.read(CATALOGUE / "objectives" / f"{topic}.yaml") for topic in TOPICS}
RECORDS = {record["id"]: record for records in WRITTEN.values() for record in records}
PACKAGE = "nonet.vision_language.objectives."


@pytest.mark.parametrize("name", ORACLES)
def test_a_worked_example_gives_its_number(name):
    assert ORACLES[name].run() == pytest.approx(ORACLES[name].expected, abs=ORACLES[name].tolerance)


@pytest.mark.parametrize("name", RECORDS)
def test_the_example_of_an_objective_runs_the_function_that_its_record_names(name, monkeypatch):
    function = RECORDS[name]["impl"].removeprefix(PACKAGE)
    called = []
    real = getattr(objectives, function)

    def watched(*inputs, **options):
        called.append(inputs)
        return real(*inputs, **options)

    monkeypatch.setattr(objectives, function, watched, raising=False)
    ORACLES[RECORDS[name]["oracle"]].run()
    assert len(called) == 1


@pytest.mark.parametrize("topic", TOPICS)
def test_an_example_belongs_to_an_objective_of_its_topic(topic):
    assert {record["oracle"] for record in WRITTEN[topic]} <= set(TOPICS[topic])


def test_every_example_of_matching_belongs_to_one_objective():
    assert sorted(record["oracle"] for record in WRITTEN["matching"]) == sorted(matching.ORACLES)


@pytest.mark.parametrize("name", RECORDS)
def test_a_formula_has_as_many_closing_as_opening_brackets(name):
    latex = RECORDS[name]["latex"]
    bare = latex.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    for left, right in ((r"\left", r"\right"), (r"\bigl", r"\bigr"), (r"\Bigl", r"\Bigr")):
        assert latex.count(left) == latex.count(right)
