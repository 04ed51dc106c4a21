from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nonet.cli.frame import _loose_words
from nonet.cli.options import option_help, parse, positional
from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare things."""

    names: tuple[str, ...] = field(metadata={"positional": True})
    """what to compare"""
    tasks: tuple[str, ...] = ()
    """on which tasks"""
    run: bool = False
    """run it"""
    after: int | None = None
    """year"""


@dataclass(frozen=True, kw_only=True)
class Build:
    """Build a folder."""

    folder: Path = field(default=Path("site"), metadata={"positional": True})
    """where"""
    force: bool = False
    """write over what is there"""


@dataclass(frozen=True, kw_only=True)
class Plain:
    """Take flags alone."""

    steps: int = 1
    """steps"""


def compare(*words: str) -> Compare:
    return parse(Compare, words, command="toy compare").options


def test_words_before_the_flags_are_the_positional_option_s_values():
    assert compare("A", "B", "--tasks", "x", "y") == Compare(names=("A", "B"), tasks=("x", "y"))
    assert compare("A", "B", "--tasks", "x", "y") == compare("--tasks", "x", "y", "--names", "A", "B")


@pytest.mark.parametrize(
    "words", [("--run", "A", "B"), ("A", "--run", "B"), ("--no-run", "--run", "A", "B"), ("A", "B", "--run")]
)
def test_a_switch_takes_no_word(words):
    assert compare(*words) == Compare(names=("A", "B"), run=True)


def test_a_flag_takes_what_its_type_takes():
    assert compare("--after", "2021", "A", "B") == Compare(names=("A", "B"), after=2021)
    assert compare("--tasks=x", "A", "B") == Compare(names=("A", "B"), tasks=("x",))


def test_one_value_is_enough_for_a_single_one():
    assert parse(Build, ["out", "--force"], command="toy build").options == Build(
        folder=Path("out"), force=True
    )
    assert parse(Build, ["--force"], command="toy build").options == Build(force=True)
    with pytest.raises(UserError, match=r"no option takes the word 'two'"):
        parse(Build, ["one", "two"], command="toy build")


def test_a_name_given_both_ways_is_refused():
    with pytest.raises(UserError, match=r"--names is given twice: as 'A'"):
        compare("A", "--names", "B")


def test_an_unknown_flag_is_still_what_is_named():
    with pytest.raises(UserError, match=r"no option --task; did you mean --tasks\?"):
        compare("A", "--task", "x")


def test_absent_words_are_missing():
    with pytest.raises(UserError, match=r"--names is required: what to compare"):
        compare("--run")


def test_a_class_without_the_mark_takes_no_words():
    assert positional(Plain) is None
    with pytest.raises(UserError, match=r"no option takes the word 'A'"):
        parse(Plain, ["A"], command="toy")


def test_help_still_names_the_option():
    assert "--names" in option_help(Compare, [], command="toy compare")


def test_usage_shows_the_words_before_the_flags():
    assert _loose_words(positional(Compare)) == "NAMES ... "
    assert _loose_words(positional(Build)) == "[FOLDER] "
    assert _loose_words(None) == ""


def test_two_positional_options_are_a_mistake_of_the_program():
    @dataclass(frozen=True)
    class Two:
        """Two."""

        a: str = field(default="", metadata={"positional": True})
        """a"""
        b: str = field(default="", metadata={"positional": True})
        """b"""

    with pytest.raises(TypeError, match="more than one positional"):
        parse(Two, [], command="toy")
