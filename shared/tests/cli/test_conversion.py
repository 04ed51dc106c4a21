from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from nonet.conversion import Mismatch, convert, describe

GOOD = [
    ("1e-4", float, 0.0001),
    (3, float, 3.0),
    ("-.5", float, -0.5),
    (".inf", float, float("inf")),
    ("1e6", int, 1_000_000),
    (2.0, int, 2),
    ("1_000", int, 1000),
    ("12345678901234567891", int, 12345678901234567891),
    (True, bool, True),
    ("a/b", Path, Path("a/b")),
    (None, int | None, None),
    ("auto", int | Literal["auto"], "auto"),
    ("7", int | Literal["auto"], 7),
    ("7", int | str, "7"),
    (1, float | None, 1.0),
    (False, Literal["on", "off"], "off"),
    (True, Literal[True, "auto"], True),
    (2, Literal[1, 2], 2),
    (["a", "b"], tuple[Path, ...], (Path("a"), Path("b"))),
    ("a", tuple[Path, ...], (Path("a"),)),
    ([], tuple[int, ...], ()),
    (["0.9", 1], tuple[float, float], (0.9, 1.0)),
    ([[1, 2]], list[tuple[int, int]], [(1, 2)]),
    ({"a": "1e2"}, dict[str, float], {"a": 100.0}),
    (5, Annotated[int, "metres"], 5),
    ({"x": 1}, Any, {"x": 1}),
]


@pytest.mark.parametrize(("value", "kind", "wanted"), GOOD)
def test_a_value_is_meant_as_its_declared_type(value, kind, wanted):
    got = convert(value, kind)
    assert got == wanted
    assert type(got) is type(wanted)


BAD = [
    (True, int, "expected a whole number, not true"),
    (1.5, int, "expected a whole number, not 1.5"),
    ("1.5", int, "expected a whole number, not '1.5'"),
    (float("inf"), int, "expected a whole number, not inf"),
    (False, float, "expected a number, not false"),
    ("fast", float, "expected a number, not 'fast'"),
    (10**400, float, "expected a number, not 1000"),
    ("true", bool, "expected true or false, not 'true'"),
    (1, bool, "expected true or false, not 1"),
    (5, str, r"expected text \(in quotes\), not 5"),
    (None, str, "expected text, not null"),
    ("", Path, "expected a path, not ''"),
    (3, Path, "expected a path, not 3"),
    ("bar", Literal["foo", "baz"], "expected 'foo' or 'baz', not 'bar'"),
    (True, Literal[1, 2], "expected 1 or 2, not true"),
    ([1, "x"], tuple[int, ...], r"\[1\]: expected a whole number, not 'x'"),
    ([1], tuple[int, int], r"expected 2 values \(a whole number, a whole number\), not \[1\]"),
    ({"a": 1}, tuple[int, ...], "expected a list"),
    (None, tuple[int, ...], "expected a list"),
    ([1], dict[str, int], "expected a mapping"),
    ("x", float | None, "expected a number or null, not 'x'"),
]


@pytest.mark.parametrize(("value", "kind", "text"), BAD)
def test_a_value_of_another_type_is_refused_with_what_was_expected(value, kind, text):
    with pytest.raises(Mismatch, match=text):
        convert(value, kind)


def test_an_unsupported_type_is_a_mistake_of_the_program():
    with pytest.raises(TypeError, match="options cannot have the type"):
        convert("x", complex)


def test_types_are_described_in_words():
    assert describe(int | None) == "a whole number or null"
    assert describe(Literal["a", 1] | float) == "'a' or 1 or a number"
    assert describe(tuple[Path, ...]) == "a list (each item a path)"
