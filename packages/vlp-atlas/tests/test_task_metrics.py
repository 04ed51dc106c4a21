"""The catalogue's metrics of tasks: their functions exist, and their worked examples come out."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

import vlp_atlas
from vlp_atlas.oracles.metrics import ORACLES

FILE = Path(vlp_atlas.__file__).parent / "catalogue" / "metrics" / "tasks.yaml"
RECORDS: list[dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", list(ORACLES))
def test_worked_example_gives_its_number(name: str) -> None:
    example = ORACLES[name]
    assert example.run() == pytest.approx(example.expected, rel=0, abs=example.tolerance)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["id"])
def test_record_names_a_function_and_an_example(record: dict[str, Any]) -> None:
    module, _, function = record["impl"].rpartition(".")
    assert callable(getattr(importlib.import_module(module), function))
    assert record["oracle"] in ORACLES


def test_conventions_of_records_are_those_of_the_functions() -> None:
    from nonet.metrics.documents import SIDES
    from nonet.metrics.vqa import CONVENTIONS

    conventions = {record["id"]: set(record.get("conventions", {})) for record in RECORDS}
    assert conventions["vqa-acc"] == set(CONVENTIONS)
    assert conventions["anls"] == set(SIDES)


def test_values_of_examples_lie_in_the_ranges_of_their_metrics() -> None:
    for record in RECORDS:
        low, high = record["range"]
        scale = 100 if record["unit"] == "percent" else 1
        value = scale * ORACLES[record["oracle"]].expected
        assert low is None or value >= low, record["id"]
        assert high is None or value <= high, record["id"]
