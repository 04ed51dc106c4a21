from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonet.cli.options import build, dump, option_help, parse, presets_in, undocumented
from nonet.errors import UserError
from nonet.options import documentation, names, nearest, read


@dataclass(frozen=True)
class Trainer:
    """How to train."""

    steps: int = 100
    """optimiser steps"""
    clip: float | None = None
    """gradient norm above which gradients are scaled down"""
    devices: Literal["auto"] | int = "auto"
    """how many devices"""


@dataclass(frozen=True)
class Options:
    """Learn from images."""

    images: Path
    """folder of photographs"""
    inputs: tuple[Path, ...] = ()
    """more folders"""
    batch_size: int = 8
    """images a step"""
    masking: Literal["query", "none", "off"] = "query"
    """what to mask"""
    betas: tuple[float, float] = (0.9, 0.99)
    """decay of both moments"""
    shuffle: bool = True
    """another order in every epoch"""
    note: str = ""
    """free text"""
    trainer: Trainer = field(default_factory=lambda: Trainer(steps=50))
    """how long and on what"""
    warm: Trainer | None = None
    """training before the training"""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}, must be at least 1")


NEEDED = {"images": "photos"}
HOOKED = pytest.mark.skipif(
    find_spec("tyro._errors") is None, reason="this tyro has no hook for parse errors"
)


def made(*layers: dict) -> Options:
    return build(Options, [(layer, f"layer{number}") for number, layer in enumerate(layers)])


def flags(*words: object, presets: Path | None = None) -> Options:
    return parse(Options, [str(word) for word in words], command="toy learn", presets=presets).options


# ---- layers of mappings ----


def test_the_last_layer_wins_and_the_others_show_through():
    got = made(NEEDED, {"batch_size": 2, "trainer": {"steps": 7}}, {"trainer": {"clip": 1}, "batch-size": 4})
    assert got == Options(images=Path("photos"), batch_size=4, trainer=Trainer(steps=7, clip=1.0))


def test_a_nested_default_of_its_own_survives_a_partial_layer():
    assert made(NEEDED, {"trainer": {"clip": 2}}).trainer == Trainer(steps=50, clip=2.0)
    assert made(NEEDED, {"trainer": None}).trainer == Trainer(steps=50)


def test_an_optional_nested_dataclass_is_a_mapping_or_null():
    assert made(NEEDED, {"warm": {"steps": 3}}).warm == Trainer(steps=3)
    assert made(NEEDED, {"warm": {"steps": 3}}, {"warm": None}).warm is None


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        ({"imges": "x"}, r"^layer1: no option 'imges'; did you mean 'images'\?$"),
        ({"steps": 3}, r"^layer1: no option 'steps'; did you mean 'trainer.steps'\?$"),
        ({"trainer": {"stps": 3}}, r"^layer1: no option 'trainer.stps'; did you mean 'trainer.steps'\?$"),
        ({"zzz": 1}, r"^layer1: no option 'zzz'$"),
        ({1: 1}, r"^layer1: no option '1'"),
        ({"batch_size": "many"}, r"^layer1: batch_size takes a whole number, not 'many'$"),
        ({"trainer": {"clip": "x"}}, r"^layer1: trainer.clip takes a number or null, not 'x'$"),
        ({"inputs": ["a", 3]}, r"^layer1: inputs\[1\] takes a path, not 3$"),
        ({"trainer": 5}, r"^layer1: trainer takes a mapping of options, not 5$"),
        ({"batch_size": 0}, r"^batch_size is 0, must be at least 1$"),
        ({"batch_size": 1, "batch-size": 2}, r"^layer1: 'batch-size' is given twice$"),
    ],
)
def test_a_wrong_layer_names_itself_the_option_and_the_remedy(layer, text):
    with pytest.raises(UserError, match=text):
        made(NEEDED, layer)


def test_options_are_listed_where_none_is_near_and_they_are_few():
    with pytest.raises(UserError, match=r"^here: no option 'zzz'; options are steps, clip, devices$"):
        build(Trainer, [({"zzz": 1}, "here")])


def test_required_options_without_a_value_are_named():
    with pytest.raises(UserError, match=r"^no value for images$"):
        made({"batch_size": 2})


# ---- YAML ----


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("batch_size: 1e2\nbetas: [9e-1, 1]\n", {"batch_size": 100, "betas": (0.9, 1.0)}),
        ("", {}),
        ("# nothing but a comment\n", {}),
        ("masking: off\n", {"masking": "off"}),
        ("inputs: one\n", {"inputs": (Path("one"),)}),
        ("trainer:\n", {}),
        ("\ufeffbatch_size: 3\n", {"batch_size": 3}),
    ],
)
def test_yaml_is_converted_by_the_declared_type(tmp_path, text, wanted):
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    assert build(Options, [(NEEDED, "test"), read(path)]) == Options(images=Path("photos"), **wanted)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"a: 1\nb: [1\n", r"a.yaml:\d: broken YAML: expected"),
        (b"batch_size: 1\nbatch_size: 2\n", r"a.yaml:2: broken YAML: 'batch_size' is given twice"),
        (b"trainer:\n  steps: 1\n  steps: 2\n", r"a.yaml:3: broken YAML: 'steps' is given twice"),
        (b"- 1\n- 2\n", r"a.yaml: expected 'option: value' lines, not \[1, 2\]"),
        (b"just text\n", r"a.yaml: expected 'option: value' lines, not 'just text'"),
        (b"note: \xff\n", r"a.yaml: not UTF-8 \(byte 6\)"),
        (b"a: 1\n---\nb: 2\n", r"a.yaml:\d: broken YAML: .*another document"),
        (b"note: !!python/object/apply:os.system [ls]\n", r"a.yaml:1: broken YAML: could not determine"),
        (b"note: \x07\n", r"a.yaml: broken YAML: "),
    ],
)
def test_broken_yaml_is_one_line_with_file_and_line(tmp_path, text, error):
    path = tmp_path / "a.yaml"
    path.write_bytes(text)
    with pytest.raises(UserError, match=error) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(UserError, match=r"nope\.yaml: no such file"):
        read(tmp_path / "nope.yaml")
    with pytest.raises(UserError, match="is a folder"):
        read(tmp_path)


# ---- writing YAML ----

text = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12)
paths = text.filter(lambda value: value and "\0" not in value).map(Path)
number = st.floats(allow_nan=False)
trainers = st.builds(
    Trainer, steps=st.integers(), clip=st.none() | number, devices=st.just("auto") | st.integers()
)
options = st.builds(
    Options,
    images=paths,
    inputs=st.lists(paths, max_size=3).map(tuple),
    batch_size=st.integers(1),
    masking=st.sampled_from(["query", "none", "off"]),
    betas=st.tuples(number, number),
    shuffle=st.booleans(),
    note=text,
    trainer=trainers,
    warm=st.none() | trainers,
)


@given(options, st.booleans())
def test_what_is_dumped_builds_an_equal_object(tmp_path_factory, given, comments):
    path = tmp_path_factory.getbasetemp() / "dumped.yaml"
    path.write_text(dump(given, comments=comments), encoding="utf-8", newline="\n")
    assert build(Options, [read(path)]) == given


@given(options)
def test_flags_change_nothing_when_there_are_none(tmp_path_factory, given):
    path = tmp_path_factory.getbasetemp() / "layer.yaml"
    path.write_text(dump(given), encoding="utf-8", newline="\n")
    assert flags("--config", path) == given


def test_dump_is_readable_yaml_with_help_above_where_wanted():
    lines = dump(Options(images=Path("a b"), inputs=(Path("c"), Path("d")))).splitlines()
    assert lines[:3] == ["images: a b", "inputs: [c, d]", "batch_size: 8"]
    assert "trainer:" in lines
    assert "  steps: 50" in lines
    commented = dump(Options(images=Path("a")), comments=True).splitlines()
    assert commented[:2] == ["# folder of photographs", "images: a"]
    assert commented[commented.index("  steps: 50") - 1] == "  # optimiser steps"


def test_secrets_are_masked():
    @dataclass(frozen=True)
    class Secretive:
        user: str = "me"
        token: str = field(default="hunter2", metadata={"secret": True})
        empty: str | None = field(default=None, metadata={"secret": True})

    assert dump(Secretive()) == 'user: me\ntoken: "***"\nempty: null\n'.replace('"', "'")
    assert "me" not in dump(Secretive(), hide={"user"})


# ---- help strings ----


def test_every_option_without_help_is_found():
    @dataclass(frozen=True)
    class Inner:
        a: int = 1
        b: int = 2
        """has help"""

    @dataclass(frozen=True)
    class Outer(Trainer):
        inner: Inner = field(default_factory=Inner)
        """a group"""
        bare: int = 0

    assert undocumented(Options) == []
    assert undocumented(Outer) == ["inner.a", "bare"]
    assert documentation(Outer)["steps"] == "optimiser steps"
    assert list(names(Outer)) == ["steps", "clip", "devices", "inner.a", "inner.b", "bare"]


def test_the_nearest_name_is_a_slip_or_a_name_without_its_prefix():
    known = ["images", "trainer.steps", "optimizer.lr", "batch_size"]
    assert nearest("imgaes", known) == "images"
    assert nearest("steps", known) == "trainer.steps"
    assert nearest("optimiser.lr", known) == "optimizer.lr"
    assert nearest("batch-sise", known) == "batch_size"
    assert nearest("qqqq", known) is None


# ---- the command line ----


@pytest.fixture
def presets(tmp_path):
    folder = tmp_path / "presets"
    folder.mkdir()
    (folder / "tiny.yaml").write_text("# a laptop, two minutes\nbatch_size: 2\ntrainer: {steps: 20}\n")
    (folder / "bare.yaml").write_text("batch_size: 3\n")
    return folder


def test_defaults_then_preset_then_files_then_flags(tmp_path, presets):
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("images: from-file\nnote: one\ntrainer: {steps: 30, clip: 1}\n")
    two.write_text("note: two\ntrainer: {clip: 2}\n")
    words = ["--preset", "tiny", "--config", one, "--config", two]
    assert flags(*words, presets=presets) == Options(
        images=Path("from-file"), batch_size=2, note="two", trainer=Trainer(steps=30, clip=2.0)
    )
    assert flags(*words, "--trainer.clip", "3e0", "--note=three", presets=presets) == Options(
        images=Path("from-file"), batch_size=2, note="three", trainer=Trainer(steps=30, clip=3.0)
    )
    assert flags("--config", one, two, f"--preset={'tiny'}", presets=presets) == flags(
        *words, presets=presets
    )


def test_flags_of_every_type():
    words = "--images x --inputs a b --batch-size 1e1 --masking none --betas 0.5 1 --no-shuffle"
    assert flags(*words.split(), "--note", "", "--trainer.clip", "-1e-3", "--trainer.devices", 2) == Options(
        images=Path("x"),
        inputs=(Path("a"), Path("b")),
        batch_size=10,
        masking="none",
        betas=(0.5, 1.0),
        shuffle=False,
        trainer=Trainer(steps=50, clip=-0.001, devices=2),
    )


@dataclass(frozen=True)
class Optional:
    """Options that may have no value."""

    samples: int | None = 5
    """examples"""
    percents: str | tuple[float, ...] | None = (1.0,)
    """levels"""
    out: Path | None = Path("out")
    """folder"""
    stop_words: Literal["none", "english"] | None = "english"
    """words that are left out"""
    name: str = ""
    """free text"""
    trainer: Trainer = field(default_factory=lambda: Trainer(clip=1.0))
    """how long"""


@pytest.mark.parametrize("word", ["none", "None", "null", "NULL"])
def test_an_optional_value_is_taken_away_as_help_words_it(word):
    def given(*words):
        return parse(Optional, words, command="toy learn").options

    flags = ("--samples", word, "--percents", word, f"--out={word}", "--trainer.clip", word)
    assert given(*flags) == Optional(samples=None, percents=None, out=None, trainer=Trainer(clip=None))
    assert given("--name", word).name == word, "text that is not optional is text"
    assert given("--stop-words", word).stop_words == ("none" if word == "none" else None)


WRONG = [
    ("--imges x", r"no option --imges; did you mean --images\? \(see 'toy learn --help'\)"),
    ("--images x --no-shufle", r"no option --no-shufle; did you mean --no-shuffle\?"),
    ("--images x --clip 1", r"no option --clip; did you mean --trainer.clip\?"),
    ("--images x --confg a", r"no option --confg; did you mean --config\?"),
    ("--images x --qqqqqq", r"no option --qqqqqq \(see"),
    ("--images x stray", r"no option takes the word 'stray'; options begin with --"),
    ("--images x --batch-size many", r"--batch-size takes a whole number, not 'many' \(see"),
    ("--images x --batch-size=1.5", r"--batch-size takes a whole number, not '1.5'"),
    ("--images x --masking foo", r"--masking takes 'query', 'none' or 'off', not 'foo'"),
    ("--images x --trainer.devices foo", r"--trainer.devices takes 'auto' or a whole number, not 'foo'"),
    ("--images x --trainer.clip foo", r"--trainer.clip takes a number or null, not 'foo'"),
    ("--images x --betas 1 y", r"--betas takes 2 values \(a number, a number\), not '1 y'"),
    ("--images", r"--images needs a value: a path"),
    ("", r"--images is required: folder of photographs \(see 'toy learn --help'\)"),
    ("--images x --batch-size 0", r"^batch_size is 0, must be at least 1$"),
    ("--config", "--config needs a YAML file"),
    ("--preset", "--preset needs a name"),
    ("--preset=", "--preset needs a name"),
    ("--preset tny", r"no preset 'tny'; did you mean 'tiny'\?"),
    ("--preset qqq", r"no preset 'qqq'; there are bare, tiny"),
    ("--images x --betas 1 2 --betas=3 4", r"--betas is given twice; give all its values after one --betas"),
    ("--preset tiny --preset bare", r"--preset is given twice \(tiny, bare\)"),
    ("--print-config=1", "--print-config takes no value"),
    ("--config nope.yaml", "nope.yaml: no such file"),
]


@HOOKED
@pytest.mark.parametrize(("line", "error"), WRONG)
def test_a_mistake_is_one_line(line, error, presets, capsys):
    with pytest.raises(UserError, match=error) as caught:
        flags(*line.split(), presets=presets)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("line", [line for line, _ in WRONG])
def test_a_mistake_is_one_line_without_the_private_hook_of_tyro(line, presets, capsys, monkeypatch):
    import contextlib

    monkeypatch.setattr("nonet.cli.options._on_error", lambda hook: contextlib.nullcontext())
    with pytest.raises(UserError) as caught:
        flags(*line.split(), presets=presets)
    said = str(caught.value)
    assert said
    assert not set(said) & set("\n╭╮╰╯│─")
    assert capsys.readouterr() == ("", "")


def test_a_preset_is_refused_where_there_are_none():
    with pytest.raises(UserError, match="no preset 'tiny': this verb has none"):
        flags("--preset", "tiny")


def test_a_mistake_in_a_preset_names_it(presets):
    (presets / "wrong.yaml").write_text("batchsize: 2\n")
    with pytest.raises(
        UserError, match=r"^preset wrong: no option 'batchsize'; did you mean 'batch_size'\?$"
    ):
        flags("--preset", "wrong", presets=presets)


def test_presets_are_listed_with_their_first_comment(presets):
    assert presets_in(presets) == {"bare": "", "tiny": "a laptop, two minutes"}
    assert presets_in(None) == presets_in(presets / "absent") == {}


def test_help_has_every_option_with_text_and_the_value_that_holds(presets):
    shown = option_help(Options, ["--help", "--preset", "tiny"], command="toy learn", presets=presets)
    joined = " ".join(shown.split())
    for name, about in documentation(Options).items():
        if not name.startswith("warm"):  # an optional group is for files only
            assert about in joined
    for name in names(Options):
        assert (f"--{name.replace('_', '-')}" in joined) == (not name.startswith("warm"))
    assert "--batch-size INT images a step (default: 2)" in joined
    assert "--trainer.steps INT optimiser steps (default: 20)" in joined
    assert "folder of photographs (required)" in joined
    assert not set(shown) & set("╭╮╰╯│─\x1b")


def test_options_may_not_take_the_names_of_the_frame():
    @dataclass(frozen=True)
    class Clash:
        config: str = ""
        """mine"""

    with pytest.raises(TypeError, match="may not have the options"):
        parse(Clash, [], command="toy learn")
