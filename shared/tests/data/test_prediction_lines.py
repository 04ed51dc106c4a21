"""A file of predictions that a stopped run goes on with: what is kept, what is refused, what is left."""

import json
from typing import NamedTuple

import pytest

from nonet.data.prediction_lines import PredictionLines, stamp
from nonet.errors import UserError


class Item(NamedTuple):
    id: str


ITEMS = [Item(f"n{number}") for number in range(5)]


def written(path, settings, count, *, items=ITEMS, **more):
    """Write up to `count` predictions, then stop as by Ctrl-C unless all are there."""
    file = PredictionLines(path, settings, **more)
    with file:
        for item in file.remaining(items):
            if file.done == count:
                raise KeyboardInterrupt
            file.write({"id": item.id, "label": len(item.id)})
    return file


def test_a_stopped_file_goes_on_after_its_last_whole_line(tmp_path):
    whole, path = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    written(whole, {"a": 1}, 5)
    with pytest.raises(KeyboardInterrupt):
        written(path, {"a": 1}, 3)
    part = tmp_path / "out.jsonl.part"
    part.write_text(part.read_text()[:-4])  # the third line lost its end
    file = written(path, {"a": 1}, 5)
    assert (file.resumed, file.done) == (2, 5)
    assert path.read_bytes() == whole.read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out.jsonl", "whole.jsonl"]


def test_other_settings_and_other_items_are_refused(tmp_path):
    path = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        written(path, {"a": 1}, 2)
    with pytest.raises(UserError, match=r"out\.jsonl\.part was begun with a = 1, and now it is 2"):
        PredictionLines(path, {"a": 2})
    with pytest.raises(UserError, match="prediction 1 is of 'n0', but the input has 'n1' there"):
        written(path, {"a": 1}, 5, items=ITEMS[1:])
    with pytest.raises(UserError, match="2 predictions, but the input has 1 records"):
        list(PredictionLines(path, {"a": 1}).remaining(ITEMS[:1]))
    assert written(path, {"a": 2}, 5, overwrite=True).resumed == 0
    with pytest.raises(UserError, match=r"out\.jsonl exists; give another name, or --overwrite"):
        PredictionLines(path, {"a": 2})


def test_rows_are_made_of_whatever_is_written(tmp_path):
    with PredictionLines(
        tmp_path / "out", {}, as_row=lambda item: {"id": item.id, "twice": item.id * 2}
    ) as file:
        file.write(ITEMS[0])
    assert json.loads((tmp_path / "out").read_text()) == {"id": "n0", "twice": "n0n0"}


def test_a_stop_before_the_first_prediction_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path / "out", {}, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_stamp_changes_with_content(tmp_path):
    path = tmp_path / "in.txt"
    path.write_text("a")
    before = stamp(path)
    assert stamp(path) == before
    path.write_text("ab")
    assert stamp(path) != before
