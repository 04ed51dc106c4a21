import csv
import io

import pytest

from nonet.errors import UserError
from vlp_atlas import points
from vlp_atlas.points import Point, date_of, plot, table

SCST = "two/captioning/coco/karpathy-test/cider/fine-tuned/scst=true"


def rows(drawn):
    return list(csv.DictReader(io.StringIO(table(drawn))))


def test_a_date_is_a_year_with_its_fraction():
    assert date_of("2021-07-01") == 2021.5
    assert date_of("2021") == 2021.5
    assert 2021.0 < date_of("2021-01-15") < date_of("2021-01-16") < date_of("2021-02") < 2021.2


def test_every_point_has_the_record_it_comes_from_and_the_number_is_that_record_s(small_atlas):
    drawn = plot(small_atlas, "score-vs-year", task="vqa")
    results = {result["id"]: result for result in small_atlas.all("results")}
    assert len(drawn.points) == 3
    for row in rows(drawn):
        assert float(row["y"]) == results[row["id"]]["value"]
        assert row["source"] == "; ".join(results[row["id"]]["source"])
        assert row["as_of"] == small_atlas.as_of
        assert row["series"] == results[row["id"]]["split"] == "test-dev"


def test_splits_are_never_one_series(small_atlas):
    drawn = plot(small_atlas, "score-vs-year", task="vqa", splits=["test-dev", "test-std"])
    for point in drawn.points:
        assert point.id.split("/")[3] == point.series
    assert {point.series for point in drawn.points} == {"test-dev", "test-std"}


def test_scst_and_cross_entropy_are_never_one_series(small_atlas):
    drawn = plot(small_atlas, "score-vs-year", task="captioning")
    series = {point.id: point.series for point in drawn.points}
    assert series.pop(SCST) == "karpathy-test scst"
    assert len(series) == 1
    assert "scst" not in next(iter(series.values()))


def test_what_is_left_out_is_counted(small_atlas):
    drawn = plot(small_atlas, "params-vs-year")
    (note,) = [line for line in drawn.footer if line.startswith("checkpoints left out")]
    shown = len(drawn.points)
    counted = sum(int(part.split()[0]) for part in note.split(": ")[1].split(", ") if part[0].isdigit())
    assert shown + counted == len(small_atlas.all("checkpoints"))
    assert drawn.footer[-1].endswith(f"as of {small_atlas.as_of}")


def test_models_per_year_adds_up(small_atlas):
    drawn = plot(small_atlas, "models-per-year")
    assert sum(point.y for point in drawn.points) == len(small_atlas.all("models"))
    assert all(len(point.id.split()) == point.y for point in drawn.points)


def test_nothing_to_draw_says_why(small_atlas):
    with pytest.raises(UserError, match=r"gpus: nothing to draw \(checkpoints left out: 3"):
        plot(small_atlas, "gpus")


def test_a_cell_that_a_spreadsheet_would_compute_begins_with_a_quote(small_atlas):
    drawn = plot(small_atlas, "params-vs-year")
    drawn = drawn._replace(points=[Point("=1+1", "@x", 1.0, 2.0, "id", "verified", "s")])
    assert table(drawn).splitlines()[1].startswith("'=1+1,'@x,1,2,id")


def test_the_picture_names_every_point_and_is_the_same_every_time(small_atlas):
    plots = pytest.importorskip("vlp_atlas.plots")
    drawn = plot(small_atlas, "score-vs-year", task="vqa")
    svg = plots.svg(drawn)
    for number, point in enumerate(drawn.points):
        assert f'<g id="point-{number}"><title>{point.label}: ' in svg
        assert f"[{point.id}]" in svg
    assert svg == plots.svg(drawn)
    assert small_atlas.as_of in svg
    bars = plots.svg(plot(small_atlas, "models-per-year"))
    assert bars.count("<title>") == len(plot(small_atlas, "models-per-year").points)


def test_the_verb_writes_picture_and_points(vlp, tmp_path):
    code, out, _ = vlp("plot score-vs-year --out p.svg")
    assert code == 0
    assert "3 points" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.csv", "p.svg"]
    code, _, err = vlp("plot score-vs-year --out p.svg")
    assert code == 2
    assert "--force" in err
    assert vlp("plot score-vs-year --out p.png --force")[0] == 0
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
    code, _, err = vlp("plot score-vs-year --out p.pdf")
    assert code == 2
    assert ".svg or .png" in err


def test_an_unknown_plot_is_refused(vlp):
    code, _, err = vlp("plot scores --out p.svg")
    assert code == 2
    assert "params-vs-year" in err
    assert points.KINDS
