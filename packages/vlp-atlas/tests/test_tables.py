import pytest

from vlp_atlas.tables import fit, grid, quantity, render, span, text
from vlp_atlas.tabular import Table


@pytest.mark.parametrize(
    ("number", "shown"),
    [(999, "999"), (1000, "1K"), (86e6, "86M"), (303_000_000, "303M"), (1.8e9, "1.8B"), (999_950, "1M")],
)  # fmt: skip
def test_quantities_have_three_digits(number, shown):
    assert quantity(number) == shown


def test_unknown_is_an_empty_cell_and_marks_say_how_sure_a_value_is():
    rows = [
        {"id": "a", "params": None, "year": 2020, "_facts": {}},
        {"id": "b", "params": 86e6, "year": 2021, "_facts": {"params": {"confidence": "digitised"}}},
    ]
    told = render(Table(["id", "params", "year", "domain"], rows, ["1 without params"])).splitlines()
    assert told[0].split() == ["id", "params", "year"]
    assert told[1].split() == ["a", "2020"]
    assert told[2].split() == ["b", "86M~", "2021"]
    assert told[3:] == ["1 without params", "nothing known: domain", "~ read off a figure"]


def test_an_empty_table_still_has_its_heads():
    assert render(Table(["id", "year"], [], ["nothing left"])).splitlines() == ["id  year", "nothing left"]


def test_lines_are_no_wider_than_the_terminal():
    lines = grid(["name", "what"], [["a" * 30, "b" * 30]], width=40)
    assert max(map(len, lines)) <= 40
    assert "…" in lines[-1]
    assert grid(["name", "what"], [["a" * 30, "b" * 30]])[-1] == f"{'a' * 30}  {'b' * 30}"


def test_wide_and_combining_characters_take_their_columns():
    assert span("悟道") == 4
    assert span("e\u0301") == 1
    assert span(fit("悟道文澜", 5)) == 5
    assert fit("ab", 4, right=True) == "  ab"


def test_values_are_written_for_people():
    assert text([{"id": "mlm", "acronym": "MLM"}, {"id": "itc"}]) == "mlm (acronym MLM), itc"
    assert text({"device": "V100", "count": 8}) == "device V100, count 8"
    assert (text(None), text(True), text(72.70), text(2020)) == ("", "yes", "72.7", "2020")
