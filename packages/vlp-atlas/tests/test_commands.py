"""The verbs on the small catalogue: what they print, and how they refuse."""

import csv
import io
import json
import subprocess
import sys

import pytest


def test_models_filters_and_sorts_with_unknown_last(vlp):
    code, out, _ = vlp("models --sort params --json")
    told = json.loads(out)
    assert code == 0
    assert [row["id"] for row in told["rows"]] == ["one-base", "one-large", "three", "two"]
    assert "2 without params, last" in told["footer"]
    _, out, _ = vlp("models --objective itc --json")
    assert [row["id"] for row in json.loads(out)["rows"]] == ["two"]


def test_models_prints_a_table_without_colour_where_nobody_looks(vlp):
    code, out, err = vlp("models --objective mlm")
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    lines = out.splitlines()
    assert any(line.split()[:2] == ["one-large", "ONE-large"] and "303M" in line for line in lines)
    assert lines[-1].startswith("catalogue ")


def test_models_says_that_its_year_is_the_first_public_one(vlp):
    first, public, year = (line.split() for line in vlp("models --objective mlm")[1].splitlines()[:3])
    assert ("first" in first, "public" in public, "year" in year) == (True, True, True)
    assert "year" in json.loads(vlp("models --json")[1])["columns"]


def test_objective_lists_the_acronyms_of_the_table_of_aliases(vlp):
    def acronyms(name):
        (line,) = [
            line for line in vlp(f"objective {name}")[1].splitlines() if line.startswith("  acronyms ")
        ]
        return line.removeprefix("  acronyms").strip()

    assert acronyms("itm") == "MML"
    assert acronyms("mlm") == "nothing in the catalogue"


@pytest.mark.parametrize("line", ["models --objective infonse", "objective infonse", "task vq", "show noone"])
def test_an_unknown_name_is_refused_with_the_three_nearest(vlp, line):
    code, out, err = vlp(line)
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.split("the nearest:")[1].count(",") >= 2


def test_an_ambiguous_name_lists_its_senses_and_picks_none(vlp, small):
    alias = next(alias for alias in small["aliases"] if len(alias["senses"]) > 1)
    code, out, err = vlp(f"show '{alias['alias']}'")
    assert code == 2
    assert out == ""
    for sense in alias["senses"]:
        assert sense["id"] in err


def test_a_filter_that_removes_everything_is_named(vlp):
    code, out, _ = vlp("models --objective itc --modality video")
    assert code == 0
    assert "nothing left: modality video removed the last 1" in out


def test_compare_marks_what_is_unlike_and_gives_no_difference_there(vlp):
    code, out, _ = vlp("compare ONE TWO")
    assert code == 0
    cider = next(line for line in out.splitlines() if line.startswith("coco karpathy-test cider "))
    assert "≠SCST" in cider
    assert "+" not in cider
    assert "*" not in cider
    best = next(line for line in out.splitlines() if "test-dev" in line)
    assert "75.84*" in best
    assert best.endswith("+2.02")  # 75.84 - 73.82, the best of each
    assert "difference: the best of Two less the best of ONE" in out.splitlines()


def test_compare_takes_tasks_apart_by_commas(vlp):
    _, out, _ = vlp("compare ONE TWO --tasks vqa,captioning")
    _, spaced, _ = vlp("compare ONE TWO --tasks vqa captioning")
    assert out == spaced
    assert "cider" in out
    assert "cider" not in vlp("compare ONE TWO --tasks vqa")[1]


def test_compare_needs_two(vlp):
    code, _, err = vlp("compare ONE")
    assert code == 2
    assert "two or more models" in err


def test_show_names_confidence_source_and_place_of_every_fact(vlp, small):
    model = next(model for model in small["models"] if model["id"] == "one")
    code, out, _ = vlp("show ONE --sources")
    assert code == 0
    for field, fact in model.items():
        if isinstance(fact, dict) and "confidence" in fact:
            at = out.index(f"\n  {field.replace('_', ' ')} ")
            assert f"[{fact['confidence']}]" in out[at : out.index("\n", at + 1)]
    assert "One, Section 3, primary-paper, https://arxiv.org/abs/1909.11740, read 2026-11-25" in out
    assert "ONE-large  [checkpoint one-large]" in out


def test_facts_from_memory_are_hidden_and_counted_unless_asked_for(vlp):
    _, out, _ = vlp("show TWO")
    assert "from memory and hidden" in out
    assert "hidden" not in vlp("show TWO --unverified")[1]


def test_show_prints_the_record_as_json(vlp, small):
    told = json.loads(vlp("show model:one --json")[1])
    assert told == next(model for model in small["models"] if model["id"] == "one")


def test_task_names_its_metric_with_formula_and_its_data_sets(vlp):
    code, out, _ = vlp("task vqa")
    assert code == 0
    assert "[metric vqa-acc]" in out
    assert "formula" in out
    assert "[dataset vqa-v2]" in out
    assert "results: vlp-atlas results --task vqa" in out


def test_datasets_and_results_are_tables(vlp, small):
    told = json.loads(vlp("datasets --json --sort year")[1])
    years = [row["year"] for row in told["rows"] if row["year"] is not None]
    assert years == sorted(years)
    assert len(told["rows"]) == len(small["datasets"])
    told = json.loads(vlp("results --task vqa --split test-dev --json --sort=-value")[1])
    values = [row["value"] for row in told["rows"]]
    assert values == sorted(values, reverse=True)
    assert {row["split"] for row in told["rows"]} == {"test-dev"}


def test_search_finds_text_literally(vlp):
    assert "objective" in vlp("search infonce")[1]
    assert vlp("search 'in.*ce'")[1] == "0 found\n"


def test_info_counts_records_and_says_the_hash(vlp, small):
    told = json.loads(vlp("info --json")[1])
    assert told["catalogue"]["sha256"] == small["hash"]
    assert told["records"]["models"] == len(small["models"])
    assert f"{small['hash']}" in vlp("info")[1]


def test_version_says_data_version_and_hash_below(vlp, small):
    first, second = vlp("--version")[1].splitlines()
    assert first.startswith("vlp-atlas ")
    assert small["data_version"] in second
    assert small["hash"] in second


def test_export_does_not_write_over_a_file_unless_forced(vlp, tmp_path):
    assert vlp("export --what models --format csv --out m.csv")[0] == 0
    before = (tmp_path / "m.csv").read_bytes()
    code, _, err = vlp("export --what models --format json --out m.csv")
    assert code == 2
    assert "--force" in err
    assert (tmp_path / "m.csv").read_bytes() == before
    assert vlp("export --what models --format json --out m.csv --force")[0] == 0
    assert (tmp_path / "m.csv").read_bytes() != before


def test_export_prints_the_same_bytes_every_time(vlp):
    first = vlp("export --what results --format csv")[1]
    assert first == vlp("export --what results --format csv")[1]
    assert len(list(csv.reader(io.StringIO(first)))) > 3


def test_check_and_lint_are_content_with_a_sound_catalogue(vlp):
    code, out, _ = vlp("check --today 2026-12-01")
    assert (code, out.splitlines()[-1]) == (0, "the catalogue: no defects")
    code, out, _ = vlp("lint --strict")
    assert (code, out) == (0, "the catalogue: no defects\n")


def test_check_names_every_defect_with_its_line(vlp, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "models:\n  - id: Bad Id\n    id: twice\n    name: no\n", encoding="utf-8"
    )
    code, out, _ = vlp("check mine.yaml")
    assert code == 1
    assert "mine.yaml:3" in out
    assert "mine.yaml:4" in out
    assert out.splitlines()[-1].endswith("defects")


def test_check_sees_that_the_built_file_is_stale(vlp, small_folder):
    built = small_folder / "atlas.json"
    built.write_bytes(built.read_bytes().replace(b"ONE-base", b"ONE-bass"))
    code, out, _ = vlp("check --today 2026-12-01")
    assert code == 1
    assert "atlas.json: stale: is not what the YAML files give" in out


def test_old_sources_are_remarks_and_with_strict_defects(vlp):
    code, out, _ = vlp("check --today 2030-01-01")
    assert code == 0
    assert "remark: " in out
    assert vlp("check --today 2030-01-01 --strict")[0] == 1


def test_lint_refuses_a_missing_file(vlp):
    code, _, err = vlp("lint absent.yaml")
    assert code == 2
    assert "absent.yaml: no such file" in err


def test_diff_says_what_changed(vlp, small_folder, tmp_path):
    old = (small_folder / "atlas.json").read_text(encoding="utf-8")
    (tmp_path / "old.json").write_text(old.replace("75.84", "75.8"), encoding="utf-8")
    code, out, _ = vlp("diff old.json")
    assert code == 0
    assert "75.8 -> 75.84" in out
    assert out.splitlines()[-1] == "1 changed"
    assert vlp(f"diff {small_folder}/atlas.json {small_folder}/atlas.json")[1] == "no change\n"


@pytest.mark.parametrize("day", ["2021", "yesterday"])
def test_as_of_takes_a_day(vlp, day):
    code, _, err = vlp(f"models --as-of {day}")
    assert code == 2
    assert "YYYY-MM-DD" in err


def test_as_of_leaves_out_what_came_later(vlp):
    told = json.loads(vlp("models --as-of 2020-12-31 --json")[1])
    assert [row["id"] for row in told["rows"]] == ["one-base", "one-large"]


def test_a_file_of_one_s_own_is_merged_and_a_contradiction_said(vlp, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "sources:\n  - {id: mine, kind: reproduction, title: Mine, url: 'https://example.org/mine',"
        " retrieved: 2026-01-31}\n"
        "results:\n  - {checkpoint: two, task: vqa, dataset: vqa-v2, split: test-dev, metric: vqa-acc,"
        " value: 70.0, source: ['mine#Table 1'], confidence: verified}\n",
        encoding="utf-8",
    )
    code, out, err = vlp("results --checkpoint two --split test-dev --json --extra mine.yaml")
    assert code == 0
    assert err.startswith("warning: ")
    (row,) = json.loads(out)["rows"]
    assert (row["value"], row["confidence"]) == (75.84, "disputed")
    (row,) = json.loads(
        vlp("results --checkpoint two --split test-dev --json --extra mine.yaml --prefer local")[1]
    )["rows"]
    assert row["value"] == 70.0


@pytest.mark.parametrize(
    "line", ["models --sort params", "compare ONE TWO", "show ONE --sources", "search vqa"]
)
def test_queries_load_nothing_heavy(small_folder, tmp_path, line):
    code = (
        "import sys, pathlib, vlp_atlas.atlas\n"
        f"vlp_atlas.atlas.BUILT = pathlib.Path({str(small_folder / 'atlas.json')!r})\n"
        f"sys.argv = ['vlp-atlas', *{line.split()!r}]\n"
        "from vlp_atlas.cli import main\n"
        "code = main()\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'yaml', 'matplotlib', 'pandas'} & set(sys.modules)\n"
        "print(code, sorted(heavy))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"
