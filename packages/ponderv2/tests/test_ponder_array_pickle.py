"""Info pickles are read without running what they name."""

import os
import pickle
from collections import OrderedDict
from pathlib import PurePosixPath

import numpy as np
import pytest

from nonet.errors import UserError
from ponderv2.array_pickle import load_arrays

PLAIN = {
    "texts": ["a", ("b", None)],
    "array": np.arange(6, dtype=np.float32).reshape(2, 3),
    "by_columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "names": np.array(["car", "pedestrian"]),
    "truth": np.bool_(True),
    "number": np.float64(1.5),
    "big_endian": np.array([1, 2], ">i4"),
    "bytes": b"\xff\x00",
    "empty": np.zeros((0, 7)),
    "ordered": OrderedDict(a=1, b=2),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_content_comes_back_as_it_was(tmp_path, protocol):
    path = tmp_path / "infos.pkl"
    path.write_bytes(pickle.dumps(PLAIN, protocol))
    found = load_arrays(path)
    assert found.keys() == PLAIN.keys()
    for name, value in PLAIN.items():
        if isinstance(value, np.ndarray | np.generic):
            kinds = [each.dtype.newbyteorder("=") for each in (found[name], value)]
            assert kinds[0] == kinds[1], name
            assert np.array_equal(found[name], value), name
        else:
            assert found[name] == value


class _Runs:
    def __reduce__(self):
        return os.mkdir, ("made-by-a-pickle",)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (_Runs(), "mkdir"),
        (np.array([{"a": 1}], dtype=object), "type 'O"),
        (np.zeros(2, [("x", "f4"), ("y", "f4")]), "type 'V8'"),
        (PurePosixPath("a"), "PurePosixPath"),
    ],
)
def test_what_names_anything_else_is_refused_and_not_run(tmp_path, monkeypatch, content, named):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "infos.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=r"infos\.pkl: not a pickle of plain data") as error:
        load_arrays(path)
    assert named in str(error.value)
    assert not (tmp_path / "made-by-a-pickle").exists()


def test_an_array_whose_state_lies_about_its_items_is_refused(tmp_path):
    good = pickle.dumps(np.zeros(4), 4)
    path = tmp_path / "infos.pkl"
    path.write_bytes(good.replace(b"\x00" * 32, b"\x00" * 24, 1).replace(b"C ", b"C\x18", 1))
    with pytest.raises(UserError, match="not a pickle of plain data"):
        load_arrays(path)


def test_missing_files_folders_and_damage_are_named(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_arrays(tmp_path / "absent.pkl")
    with pytest.raises(UserError, match="is a folder"):
        load_arrays(tmp_path)
    (tmp_path / "cut.pkl").write_bytes(pickle.dumps(PLAIN)[:50])
    with pytest.raises(UserError, match=r"cut\.pkl: not a pickle"):
        load_arrays(tmp_path / "cut.pkl")
