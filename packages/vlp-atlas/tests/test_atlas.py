import json
import subprocess
import sys

import pytest

from nonet.errors import UserError
from vlp_atlas import Atlas


def record(catalogue, kind, id_):
    return next(found for found in catalogue[kind] if found["id"] == id_)


def test_a_file_is_loaded_with_its_versions(small, small_file):
    atlas = Atlas.load(path=small_file)
    assert (atlas.schema_version, atlas.data_version, atlas.hash) == ("1.0.0", "2026.11.0", small["hash"])
    assert atlas.as_of == "2026-11-25"
    assert atlas.all("models") == atlas.all("model") == small["models"]


def test_value_hides_what_is_unverified_or_missing(small):
    atlas, shown = Atlas(small), Atlas(small, unverified=True)
    two = atlas.get("checkpoints", "two")
    assert (atlas.value(two, "params"), shown.value(two, "params")) == (None, 210_000_000)
    assert atlas.value(two, "pretrain_pairs") == 4_000_000
    assert atlas.value(two, "absent") is None
    assert atlas.value(two, "name") == "Two"
    assert atlas.value(atlas.get("models", "three"), "fusion") is None


def test_records_are_found_by_what_they_belong_to(small_atlas):
    assert [point["id"] for point in small_atlas.checkpoints_of["one"]] == ["one-base", "one-large"]
    assert [model["id"] for model in small_atlas.users_of("itm")] == ["one", "two"]
    assert (small_atlas.public("2021-two"), small_atlas.public("2022-three")) == ("2021-07-16", "2022")
    assert small_atlas.public("nothing") is None


def test_own_files_are_merged_on_loading_and_only_then_is_yaml_needed(small_file, tmp_path):
    extra = tmp_path / "mine.yaml"
    extra.write_text("models: [{id: two, source: [survey#x], confidence: secondary, fusion: hybrid}]")
    atlas = Atlas.load(path=small_file, extra=[extra])
    assert atlas.get("models", "two")["fusion"]["confidence"] == "disputed"
    assert len(atlas.warnings) == 1
    assert "dual-stream" in atlas.warnings[0]
    local = Atlas.load(path=small_file, extra=[extra], prefer_local=True)
    assert local.value(local.get("models", "two"), "fusion") == "hybrid"


def test_files_that_are_no_catalogue_are_refused(tmp_path, small):
    path = tmp_path / "atlas.json"
    with pytest.raises(UserError, match=r"no such file; write it with python -m vlp_atlas\.building"):
        Atlas.load(path=path)
    path.write_text("{")
    with pytest.raises(UserError, match="not a built catalogue"):
        Atlas.load(path=path)
    path.write_text(json.dumps({**small, "schema_version": "1.8.0"}))
    with pytest.raises(UserError, match="install a later vlp-atlas"):
        Atlas.load(path=path)


def test_queries_load_neither_torch_nor_numpy_nor_pydantic_nor_yaml(small_file):
    program = f"""
import sys, pathlib
from vlp_atlas import Atlas, export
atlas = Atlas.load(path=pathlib.Path({str(small_file)!r}))
table = atlas.models(objective="ITM", after=2018, sort="params")
atlas.results(task="vqa"), atlas.compare(["one", "two"], ["vqa"]), export(atlas, table, "csv")
print(len(table), sorted({{"torch", "numpy", "pydantic", "yaml", "pandas"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "3 []\n"


def test_the_packages_names_are_there_and_no_others():
    import vlp_atlas

    for name in vlp_atlas.__all__:
        assert getattr(vlp_atlas, name) is not None
        assert name in dir(vlp_atlas)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vlp_atlas.nothing
