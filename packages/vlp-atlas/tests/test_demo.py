"""The demo's parts, on the small catalogue."""

import json

import pytest

from vlp_atlas import demonstration
from vlp_atlas.demonstration import ERRORS, PLANTED, worked_examples


def test_every_planted_error_has_a_rule_that_exists():
    from vlp_atlas.linting import RULES

    assert set(PLANTED) <= set(RULES)


def test_worked_examples_are_those_that_the_catalogue_names(small_atlas, monkeypatch):
    from vlp_atlas import oracles
    from vlp_atlas.oracles import Oracle

    told = {"half": Oracle("x", lambda: 0.5, 0.5, 1e-9), "wrong": Oracle("y", lambda: 1.0, 2.0, 0.1)}
    monkeypatch.setattr(oracles, "oracle", told.__getitem__)
    for kind in ("objectives", "metrics"):
        for record in small_atlas.catalogue[kind]:
            record["oracle"] = "half"
    small_atlas.catalogue["metrics"][0]["oracle"] = "wrong"
    small_atlas.catalogue["metrics"][-1].pop("oracle")
    ran, _ = worked_examples(small_atlas)
    assert [one.passed for one in ran].count(False) == 1
    assert len(ran) == len(small_atlas.all("objectives")) + len(small_atlas.all("metrics")) - 1


@pytest.mark.slow
def test_the_demo_finds_all_planted_errors_and_writes_its_page(tmp_path, capsys):
    assert demonstration.demonstrate(tmp_path / "demo") == 0
    told = json.loads((tmp_path / "demo" / "demo.json").read_text(encoding="utf-8"))
    assert (told["before"], told["after"]) == (0, len(PLANTED))
    assert told["examples"]["failed"] == []
    for name in (*told["pictures"], "report.html", "site/index.html", "planted.yaml"):
        assert (tmp_path / "demo" / name).stat().st_size > 0
    assert (tmp_path / "demo" / "planted.yaml").read_text(encoding="utf-8") == ERRORS
    assert f"{len(PLANTED)} of {len(PLANTED)} with the rules" in capsys.readouterr().out
