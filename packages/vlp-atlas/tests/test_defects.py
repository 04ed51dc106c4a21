"""Errors that surveys, lists and charts really made, each as a small file laid over the catalogue."""

from pathlib import Path

import pytest

from vlp_atlas import Atlas
from vlp_atlas.defects import shown
from vlp_atlas.linting import lint_files

FILES = sorted((Path(__file__).parent / "defects").glob("*.yaml"))
RULED = [path for path in FILES if path.name.split("-")[1].startswith("L")]
DISPUTED = [path for path in FILES if "-disputed-" in path.name]


def test_all_ten_errors_are_here():
    assert [path.name[0] for path in FILES] == list("abcdefghij")
    assert len(RULED) + len(DISPUTED) == 10


@pytest.mark.parametrize("path", RULED, ids=lambda path: path.stem)
def test_the_rule_in_the_name_of_the_file_finds_its_error(path):
    found = lint_files([path], strict=True)
    rule = path.name.split("-")[1]
    assert rule in {defect.rule for defect in found}, found
    assert all(defect.file.endswith(path.name) for defect in found if defect.rule == rule)
    assert all(defect.line >= 1 for defect in found if defect.rule == rule)


@pytest.mark.parametrize("path", DISPUTED, ids=lambda path: path.stem)
def test_a_value_that_contradicts_the_catalogue_is_disputed_and_both_are_kept(path):
    before = {result["id"]: result for result in Atlas.load().all("results")}
    atlas = Atlas.load(extra=[path])
    changed = [result for result in atlas.all("results") if result != before.get(result["id"])]
    assert changed
    assert atlas.warnings
    for result in changed:
        assert result["confidence"] == "disputed"
        values = {result["value"], *(other["value"] for other in result["alternatives"])}
        assert before[result["id"]]["value"] in values
        assert len(values) > 1


TOLD = {
    "b": [("8:5", "uniter-base/vqa/vqa-v2/test-dev/vqa-acc/fine-tuned: 71.32 here, 72.7 in")],
    "f": [
        (
            "12:35",
            "oscar-large/captioning/coco/karpathy-test/cider-d/fine-tuned/scst=true: 140.9 here, 140.0 in",
        ),
        (
            "13:35",
            "vinvl-large/captioning/coco/karpathy-test/cider-d/fine-tuned/scst=true: 140.0 here, 140.9 in",
        ),
    ],
}
"""of each file, the places that contradict the catalogue, and how"""


@pytest.mark.parametrize("path", DISPUTED, ids=lambda path: path.stem)
def test_the_check_remarks_on_contradictions_and_calls_them_defects_if_strict(path, capsys):
    from vlp_atlas.commands.check import Options, run

    told = [
        f"{shown(path)}:{place}: contradiction: results {what} the catalogue; "
        "both are kept as disputed, the catalogue's stands"
        for place, what in TOLD[path.name[0]]
    ]
    assert run(Options(files=(path,))) == 0
    remarks = [f"remark: {line}" for line in told]
    assert capsys.readouterr().out.splitlines() == [*remarks, f"{path}: no defects"]
    assert run(Options(files=(path,), strict=True)) == 1
    count = f"{len(told)} defect{'s' if len(told) > 1 else ''}"
    assert capsys.readouterr().out.splitlines() == [*told, f"{path}: {count}"]
