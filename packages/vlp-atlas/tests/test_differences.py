import copy

import pytest

from nonet.errors import UserError
from vlp_atlas import Atlas
from vlp_atlas.building import write
from vlp_atlas.differences import as_of_day, diff, load


def record(catalogue, kind, id_):
    return next(found for found in catalogue[kind] if found["id"] == id_)


def test_equal_catalogues_do_not_differ(small):
    assert diff(small, copy.deepcopy(small)) == []


def test_added_changed_and_removed_facts_and_records(small):
    new = copy.deepcopy(small)
    one = record(new, "checkpoints", "one-base")
    one["params"]["value"] = 110_000_000
    one["steps"] = {"value": 5, "source": ["2020-one#S"], "confidence": "verified"}
    del record(new, "papers", "2020-one")["month"]
    new["results"] = [result for result in new["results"] if result["checkpoint"] != "two"]
    new["aliases"].append({"alias": "new", "senses": []})
    changes = diff(small, new)
    assert [(change.what, change.kind, change.id, change.field) for change in changes] == [
        ("removed", "papers", "2020-one", "month"),
        ("changed", "checkpoints", "one-base", "params"),
        ("added", "checkpoints", "one-base", "steps"),
        ("removed", "results", "two/captioning/coco/karpathy-test/cider/fine-tuned/scst=true", None),
        ("removed", "results", "two/vqa/vqa-v2/test-dev/vqa-acc/fine-tuned", None),
        ("added", "aliases", "new", None),
    ]
    assert str(changes[1]) == (
        "changed checkpoints one-base params: 86000000 (verified, 2020-one#Table 1) -> "
        "110000000 (verified, 2020-one#Table 1)"
    )
    assert str(changes[2]) == "added checkpoints one-base steps: nothing -> 5 (verified, 2020-one#S)"
    back = {(change.kind, change.id, change.field) for change in diff(new, small)}
    assert back == {(change.kind, change.id, change.field) for change in changes}


@pytest.mark.parametrize(
    ("day", "models"),
    [
        ("2018", []),
        ("2019-09-24", []),
        ("2019-09-25", ["one"]),
        ("2019", ["one"]),
        ("2021-07", ["one", "two"]),
        ("2021-07-15", ["one"]),
        ("2022-01-01", ["one", "three", "two"]),
    ],
)
def test_as_of_keeps_what_was_public_by_then(small, day, models):
    catalogue = as_of_day(small, day)
    assert [model["id"] for model in catalogue["models"]] == models
    assert {point["model"] for point in catalogue["checkpoints"]} == set(models) - {"three"}
    points = {point["id"] for point in catalogue["checkpoints"]}
    assert {result["checkpoint"] for result in catalogue["results"]} == points
    assert catalogue["metrics"] == small["metrics"]


def test_as_of_drops_what_is_said_later_or_of_later_data(small):
    record(small, "checkpoints", "one-base")["params"]["as_of"] = "2021-05"
    record(small, "datasets", "vqa-v2")["year"]["value"] = 2020
    later = record(small, "results", "one-base/captioning/coco/karpathy-test/cider/fine-tuned")
    small["results"].append({**later, "id": "later", "split": "val", "as_of": "2021-05"})
    atlas = Atlas(small, as_of="2019-12-31")
    assert atlas.as_of == "2019-12-31"
    assert "params" not in atlas.get("checkpoints", "one-base")
    assert [(row["dataset"], row["split"]) for row in atlas.results().rows] == [("coco", "karpathy-test")]
    assert "params" in as_of_day(small, "2021-05")["checkpoints"][0]
    assert small["checkpoints"][0]["params"]["value"] == 86_000_000


def test_wrong_days_are_refused(small):
    for day in ("yesterday", "21-05", "2021-05-01-02"):
        with pytest.raises(UserError, match="is no day: write YYYY-MM-DD"):
            as_of_day(small, day)


def test_load_takes_a_file_or_a_folder(small, small_file, tmp_path):
    assert load(small_file) == small
    assert load(tmp_path) == small
    small_file.unlink()
    (tmp_path / "version.yaml").write_text('data_version: "2026.12.0"\n')
    text = "- {id: new, kind: leaderboard, title: T, url: 'https://x.org', retrieved: 2026-11-25}\n"
    (tmp_path / "sources.yaml").write_text(text)
    assert load(tmp_path)["data_version"] == "2026.12.0"
    write(tmp_path)
    assert [change.what for change in diff(load(tmp_path), load(tmp_path / "atlas.json"))] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a built catalogue"),
        ("[]", "it lacks lists of sources"),
        ("{}", "it lacks lists of sources"),
    ],
)
def test_what_is_no_catalogue_is_refused(tmp_path, text, message):
    path = tmp_path / "x.json"
    with pytest.raises(UserError, match=r"x\.json: cannot be read"):
        load(path)
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load(path)
