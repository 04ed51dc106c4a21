"""The small catalogue of this folder, built."""

import copy
import json
from pathlib import Path

import pytest

SMALL = Path(__file__).parent / "small_catalogue"


@pytest.fixture(scope="session")
def small_built():
    from vlp_atlas.building import build

    return build(SMALL)


@pytest.fixture
def small(small_built):
    """A copy of the small catalogue, to be changed at will."""
    return copy.deepcopy(small_built)


@pytest.fixture
def small_atlas(small):
    from vlp_atlas import Atlas

    return Atlas(small)


@pytest.fixture
def small_file(small, tmp_path):
    """The small catalogue as an atlas.json."""
    path = tmp_path / "atlas.json"
    path.write_text(json.dumps(small), encoding="utf-8")
    return path


@pytest.fixture
def small_folder(small, tmp_path_factory):
    """The small catalogue's YAML files with its atlas.json beside them."""
    import shutil

    from vlp_atlas.building import text_of

    folder = tmp_path_factory.mktemp("catalogue") / "small"
    shutil.copytree(SMALL, folder)
    (folder / "atlas.json").write_text(text_of(small), encoding="utf-8")
    return folder


@pytest.fixture
def vlp(small_folder, monkeypatch, tmp_path, capsys):
    """Run the command on the small catalogue in an empty folder: `vlp("models --json")` -> code, out, err."""
    import shlex

    import vlp_atlas.atlas
    import vlp_atlas.building
    from vlp_atlas.cli import main

    monkeypatch.setattr(vlp_atlas.atlas, "BUILT", small_folder / "atlas.json")
    monkeypatch.setattr(vlp_atlas.building, "CATALOGUE", small_folder)
    monkeypatch.chdir(tmp_path)

    def run(line):
        monkeypatch.setattr("sys.argv", ["vlp-atlas", *shlex.split(line)])
        code = main()
        told = capsys.readouterr()
        return code, told.out, told.err

    return run
