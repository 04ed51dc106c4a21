import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from nonet.report import Page
from nonet.report.plots import bar_plot, column, line_plot, show


class Reader(HTMLParser):
    """The texts and tags of a page, as a browser reads them; tags close in order."""

    VOID = {"meta", "br", "use"}

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.words: list[tuple[str, str]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.words.append((self.open[-1] if self.open else "", data))

    def of(self, tag: str) -> list[str]:
        return [words for at, words in self.words if at == tag]


def shown(page: Page) -> Reader:
    return Reader(page.render())


def test_a_page_is_one_file_that_asks_for_nothing(tmp_path):
    page = (
        Page("Demo")
        .text("# Numbers")
        .table([{"a": 1}])
        .lines("Loss", {"train": [(1, 2.0)]}, x="step", y="loss")
    )
    path = page.bars("Score", {"ours": (1.0, 0.5, 1.5)}).save(tmp_path / "deep" / "report.html")
    text = path.read_text(encoding="utf-8")
    tags = Reader(text).tags
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in tags}
    assert not [value for _, attrs in tags for name, value in attrs.items() if name in ("src", "srcset")]
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


HOSTILE = "<script>alert('1')</script> & \"</title>"


def test_what_users_write_is_shown_and_never_obeyed():
    page = (
        Page(HOSTILE, HOSTILE)
        .text(HOSTILE)
        .text(f"- {HOSTILE}")
        .text(f"```\n{HOSTILE}\n```")
        .text(f"`{HOSTILE}`")
    )
    page.table([{HOSTILE: HOSTILE}], HOSTILE).lines(
        HOSTILE, {HOSTILE: [(0, 1)], "b": []}, x=HOSTILE, y=HOSTILE
    )
    reader = shown(page.bars(HOSTILE, {HOSTILE: 1}, unit=HOSTILE))
    assert "script" not in {tag for tag, _ in reader.tags}
    for place in ("title", "h1", "li", "th", "td", "figcaption", "text"):
        assert HOSTILE in reader.of(place), place
    assert [words.strip() for words in reader.of("code")] == [HOSTILE] * 2
    assert {attrs.get("aria-label") for tag, attrs in reader.tags if tag == "svg"} == {HOSTILE}


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "JavaScript:x", "vbscript:x"])
def test_links_lead_to_pages_only(address):
    assert "a" not in {tag for tag, _ in shown(Page("t").text(f"[here]({address})")).tags}


def test_text_has_headings_lists_code_emphasis_and_links():
    page = Page("t").text(
        "# Results\nTwo **strong *words*** and a_b*c*d and 2 * 3 * 4.\n\n"
        "Runs `a **b** <c>` first:\n- one\n- two, see [the paper](https://example.com/a_b?x=1&y=2)\n\n"
        "## Small\n\n"
        "```\nx = 1\n\n- no list\n```\n"
    )
    rendered = page.render()
    reader = Reader(rendered)
    assert reader.of("h2") == ["Results"]
    assert reader.of("h3") == ["Small"]
    assert "a_b*c*d and 2 * 3 * 4." in rendered
    assert "<strong>strong <em>words</em></strong>" in rendered
    assert reader.of("code") == ["a **b** <c>", "x = 1\n\n- no list\n"]
    assert rendered.count("<li>") == 2
    assert ("a", {"href": "https://example.com/a_b?x=1&y=2"}) in reader.tags


@pytest.mark.parametrize(
    "text", ["**a *b** c*", "*a **b* c**", "**", "*", "***", "*a*b*", "[a](/*b*)", "`*a` *b`*"]
)
def test_odd_marks_never_break_the_page(text):
    assert "".join(words for _, words in shown(Page("t").text(text)).words if words.strip())


def test_columns_of_numbers_stand_right_and_columns_come_in_order():
    rows = [{"name": "a", "n": 12345, "x": 1.0}, {"name": "b", "x": 2.25, "late": True}]
    reader = shown(Page("t").table(rows, "Caption"))
    assert reader.of("th") == ["name", "n", "x", "late"]
    right = [attrs.get("class") for tag, attrs in reader.tags if tag == "th"]
    assert right == [None, "number", "number", None]
    assert reader.of("td") == ["a", "12,345", "1.00", "\N{EN DASH}", "b", "\N{EN DASH}", "2.25", "yes"]
    assert reader.of("figcaption") == ["Caption"]


def test_a_table_without_rows_says_so():
    assert "nothing to show" in shown(Page("t").table([])).of("td")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1906, "1,906"),
        (12.345678, "12.35"),
        (0.00012, "0.00012"),
        (1e-5, "1.000e-05"),
        (123456.7, "123,457"),
        (1e20, "1.000e+20"),
        (float("nan"), "nan"),
        (-0.0, "-0"),
        (None, "\N{EN DASH}"),
        (False, "no"),
        ("text", "text"),
    ],
)
def test_values_have_about_four_digits(value, text):
    assert show(value) == text


def test_a_column_has_the_same_places_where_three_are_enough():
    assert column([1.5, 20.25, None, 3]) == ["1.50", "20.25", "\N{EN DASH}", "3"]
    assert column([0.00012, 1.5]) == ["0.00012", "1.5"]
    assert column([1e-7, 1.5]) == ["1.000e-07", "1.5"]
    assert column([1234.0, 2.5]) == ["1,234.0", "2.5"]


# ---- plots ----


def plain(svg: str) -> Reader:
    return Reader(svg)


def test_plots_take_their_colours_from_the_page():
    svg = line_plot({str(n): [(0, n), (1, n)] for n in range(9)}, x="x", y="y", label="l")
    svg += bar_plot({"a": (1.0, 0.5, 2.0)}, label="l")
    colours = set(re.findall(r"#[0-9a-f]{6}\b", svg.replace('href="#', "")))
    assert colours <= {"#ffffff"}
    assert {f"var(--series-{n})" for n in range(1, 9)} <= set(re.findall(r"var\(--[\w-]+\)", svg))


def test_the_same_data_gives_the_same_bytes_and_ids_are_unique_in_a_page():
    def page() -> str:
        drawn = Page("t")
        for _ in range(2):
            drawn.lines("a", {"s": [(1, 2), (2, 3)], "t": [(1, 1)]}, x="x", y="y").bars("b", {"c": 1.0})
        return drawn.render()

    text = page()
    assert text == page()
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids)) > 10
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) <= set(ids)


def path_of(svg: str, colour: str) -> list[tuple[float, float]]:
    """The corners of the line of a colour, in units of the picture."""
    drawn = re.search(rf'<path d="([^"]+)"[^>]*stroke: var\({colour}\)', svg)
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", drawn[1])]


def test_a_line_goes_where_the_numbers_say():
    svg = line_plot({"s": [(0, 0), (1, 10), (2, 5), (4, 0)]}, x="x", y="y", label="l")
    points = path_of(svg, "--series-1")
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = points
    assert (x1 - x0, x2 - x0) == (
        pytest.approx((x3 - x0) / 4, abs=1e-3),
        pytest.approx((x3 - x0) / 2, abs=1e-3),
    )
    assert y0 == pytest.approx(y3)
    assert y0 - y2 == pytest.approx((y0 - y1) / 2, abs=1e-3)
    assert y1 < y0  # upwards on a page that counts downwards


def test_a_logarithmic_axis_has_equal_steps_for_powers_and_drops_what_has_no_logarithm():
    svg = line_plot({"s": [(0, 9), (10, 0), (1000, 1), (100000, 2)]}, x="x", y="y", log_x=True, label="l")
    (x0, _), (x1, _), (x2, _) = path_of(svg, "--series-1")
    assert x1 - x0 == pytest.approx(x2 - x1, abs=1e-3)
    assert {"10", "1000", "100k"} <= set(plain(svg).of("text"))


def test_a_value_that_is_not_finite_leaves_a_gap():
    svg = line_plot(
        {"s": [(0, 1.0), (1, 2.0), (2, float("nan")), (3, 2.0), (4, 1.0)]}, x="x", y="y", label="l"
    )
    drawn = re.search(r'<path d="([^"]+)"[^>]*stroke: var\(--series-1\)', svg)[1]
    assert drawn.count("M ") == 2


@pytest.mark.parametrize("points", [[], [(1, 1.0)], [(1, float("nan"))], [(1, float("inf")), (2, 1.0)]])
def test_plots_of_next_to_nothing(points):
    assert line_plot({"s": points}, x="x", y="y", label="l").startswith("<svg")
    assert line_plot({"s": points}, x="x", y="y", log_x=True, label="l").startswith("<svg")


def test_a_legend_names_every_line_where_there_are_several():
    names = ["train", "_hidden", "costs $5 & $6", "x" * 60]
    texts = plain(line_plot({name: [(0, 1), (1, 2)] for name in names}, x="x", y="y", label="l")).of("text")
    assert [
        text.strip("\N{ZERO WIDTH SPACE}") for text in texts if text.strip("\N{ZERO WIDTH SPACE}") in names
    ] == names
    assert "alone" not in plain(line_plot({"alone": [(0, 1)]}, x="x", y="y", label="l")).of("text")


def test_bars_show_their_values_and_intervals():
    bars = {"ours": (30.0, 28.2, 31.7), "lead": 18, "none": float("nan")}
    texts = [re.sub(r"\s+", " ", text) for text in plain(bar_plot(bars, unit="F1 (%)", label="l")).of("text")]
    assert {"ours", "lead", "none", "30.0 [28.2, 31.7]", "18.0", "nan", "F1 (%)"} <= set(texts)


def test_bars_are_as_long_as_their_values():
    svg = bar_plot({"a": 10.0, "b": 5.0, "c": -5.0}, label="l")
    widths = []
    for path in re.findall(r'<path d="([^"]+)"[^>]*fill: var\(--series-1\)', svg):
        across = [float(x) for x in re.findall(r"[ML] ([-\d.]+) ", path)]
        widths.append(max(across) - min(across))
    assert widths[0] == pytest.approx(2 * widths[1], rel=1e-3)
    assert widths[1] == pytest.approx(widths[2], rel=1e-3)
    assert bar_plot({}, label="l").startswith("<svg")


def test_plots_leave_matplotlib_as_it_was():
    import matplotlib

    before = dict(matplotlib.rcParams)
    line_plot({"s": [(0, 1)]}, x="x", y="y", label="l")
    assert dict(matplotlib.rcParams) == before


def test_a_page_without_plots_loads_no_matplotlib():
    code = (
        "import sys; from nonet.report import Page; Page('t').text('a').table([{'a': 1.5}]).render();"
        "print(sorted({'matplotlib', 'numpy', 'torch', 'yaml'} & sys.modules.keys()));"
        "Page('t').bars('b', {'a': 1}).render(); print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\nFalse\n"
