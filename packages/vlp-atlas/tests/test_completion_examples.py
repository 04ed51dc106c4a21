"""The worked examples of completion objectives, and that their records name the function they run."""

import pytest

from nonet.vision_language import objectives
from vlp_atlas import yaml_reader
from vlp_atlas.building import CATALOGUE
from vlp_atlas.oracles.completion import ORACLES

RECORDS = {record["id"]: record for record in yaml_reader.read(CATALOGUE / "objectives" / "completion.yaml")}
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


def test_formulas_have_as_many_closing_as_opening_braces():
    for record in RECORDS.values():
        assert record["latex"].count("{") == record["latex"].count("}"), record["id"]
        assert record["latex"].count(r"\left") == record["latex"].count(r"\right"), record["id"]
