"""Numbers of the catalogue that were copied by hand from the papers' tables a second time."""

from pathlib import Path

import pytest
import yaml

from vlp_atlas import Atlas

FOLDER = Path(__file__).parents[1] / "src" / "vlp_atlas" / "catalogue" / "results"

VQA = ("vqa", "vqa-v2", "vqa-acc")
CELLS = [
    # UNITER's Table 3: what it reports of itself and of others
    ("uniter-base", *VQA, "test-dev", 72.70), ("uniter-base", *VQA, "test-std", 72.91),
    ("uniter-large", *VQA, "test-dev", 73.82), ("uniter-large", *VQA, "test-std", 74.02),
    ("visualbert", *VQA, "test-dev", 70.80), ("visualbert", *VQA, "test-std", 71.00),
    ("vilbert", *VQA, "test-dev", 70.55), ("vilbert", *VQA, "test-std", 70.92),
    ("lxmert", *VQA, "test-dev", 72.42), ("lxmert", *VQA, "test-std", 72.54),
    ("vl-bert-large", *VQA, "test-dev", 71.79), ("vl-bert-large", *VQA, "test-std", 72.22),
    ("uniter-base", "nlvr2", "nlvr2", "accuracy", "dev", 77.18),
    ("uniter-large", "nlvr2", "nlvr2", "accuracy", "dev", 79.12),
    ("uniter-base", "snli-ve", "snli-ve", "accuracy", "val", 78.59),
    ("uniter-large", "snli-ve", "snli-ve", "accuracy", "test", 79.38),
    ("uniter-large", "referring-expressions", "refcoco-plus", "referring-acc", "val", 75.90),
    # from later papers' tables
    ("albef-14m", *VQA, "test-dev", 75.84), ("albef-14m", *VQA, "test-std", 76.04),
    ("pim", *VQA, "test-dev", 74.00), ("clip-vil", *VQA, "test-dev", 76.48),
    ("meter", *VQA, "test-std", 77.64),
    ("simvlm-huge", *VQA, "test-dev", 80.03), ("florence", *VQA, "test-dev", 80.16),
]  # fmt: skip


@pytest.fixture(scope="module")
def results():
    return Atlas.load(unverified=True).all("results")


@pytest.mark.parametrize(
    ("checkpoint", "task", "dataset", "metric", "split", "value"), CELLS, ids=lambda part: str(part)
)
def test_cell_is_as_printed(results, checkpoint, task, dataset, metric, split, value):
    found = [
        result
        for result in results
        if (result["checkpoint"], result["task"], result["dataset"], result["metric"], result["split"])
        == (checkpoint, task, dataset, metric, split)
        and result["setting"] == "fine-tuned"
        and result.get("protocol", {}).get("boxes") in (None, "detected")
    ]
    values = {result["value"] for result in found} | {
        other["value"] for result in found for other in result.get("alternatives", [])
    }
    assert value in values
    assert all(result["confidence"] != "unverified" for result in found if result["value"] == value)


def test_every_number_of_the_files_is_in_the_catalogue(results):
    known = {}
    for result in results:
        key = tuple(result[part] for part in ("checkpoint", "task", "dataset", "split", "metric"))
        values = {result["value"], *(other["value"] for other in result.get("alternatives", []))}
        known.setdefault(key, set()).update(values)
    written = 0
    for path in sorted(FOLDER.glob("*.yaml")):
        for group in yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader):
            for item in group.get("results", [group]):
                row = {**group, **item}
                key = tuple(row[part] for part in ("checkpoint", "task", "dataset", "split", "metric"))
                assert float(row["value"]) in known[key], row
                written += 1
    assert written >= len(results) >= 400


def test_numbers_from_memory_are_hidden_and_counted():
    shown, everything = Atlas.load().results(task="vqa"), Atlas.load(unverified=True).results(task="vqa")
    hidden = len(everything.rows) - len(shown.rows)
    assert hidden > 0
    assert any(str(hidden) in line for line in shown.footer), shown.footer


def test_splits_of_vqa_are_never_left_open(results):
    splits = {result["split"] for result in results if result["dataset"] == "vqa-v2"}
    assert splits <= {"test-dev", "test-std", "val", "unstated"}
