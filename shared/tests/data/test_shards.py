"""Shards: what goes in comes out, killed or not, and damage is noticed."""

import json
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.data import shards as shards_module
from nonet.data.safetensors_file import DTYPES, map_tensors, write_tensors
from nonet.data.shards import Shards, ShardWriter, await_shards
from nonet.errors import UserError

META = {"tokenizer": "abc", "ratio": 0.3}


def rows(count, seed=0):
    random = np.random.default_rng(seed)
    for n in range(count):
        length = int(random.integers(0, 9))
        yield {"ids": random.integers(0, 99, length, np.int32), "weights": random.random(n % 3)}


def write(folder, count=23, **options):
    with ShardWriter.open(folder, META, **{"rows_per_shard": 5} | options) as writer:
        for row in islice(rows(count), writer.position, None):
            writer.append(row)
            writer.consumed()
    return folder


def content(folder):
    """Every file, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])
        assert found[name].dtype == expected[name].dtype


@pytest.mark.parametrize("count", [0, 1, 4, 5, 6, 23])
def test_rows_come_back_in_order(tmp_path, count):
    shards = Shards(write(tmp_path / "s", count))
    expected = list(rows(count))
    assert len(shards) == count
    for n, row in enumerate(expected):
        same(shards[n], row)
        same(shards[n - count], row)
    np.testing.assert_array_equal(shards.lengths("ids"), [len(row["ids"]) for row in expected])
    assert shards.lengths("ids").dtype == np.int64
    assert shards.meta == META
    for beyond in (count, -count - 1):
        with pytest.raises(IndexError, match=f"row {beyond} of {count}"):
            shards[beyond]


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.text('ab.\u00e9"', min_size=1, max_size=3), st.sampled_from(list(DTYPES.values())), min_size=1
    ),
    st.lists(st.integers(0, 5), max_size=6),
    st.integers(1, 4),
)
def test_every_dtype_and_the_published_reader_agree(tmp_path_factory, columns, lengths, rows_per_shard):
    numpy_files = pytest.importorskip("safetensors.numpy")
    folder = tmp_path_factory.mktemp("s")
    random = np.random.default_rng(1)
    made = [{c: random.integers(0, 2, n).astype(d) for c, d in columns.items()} for n in lengths]
    with ShardWriter(folder, {}, rows_per_shard=rows_per_shard) as writer:
        for row in made:
            writer.append(row)
            writer.consumed()
    shards = Shards(folder)
    assert len(shards) == len(made)
    for n, row in enumerate(made):
        same(shards[n], row)
    for path in folder.glob("*.safetensors"):
        ours, theirs = map_tensors(path), numpy_files.load_file(path)
        same(ours, theirs)
        assert all(array.ctypes.data % array.itemsize == 0 for array in ours.values() if array.size)


def test_rows_are_views_into_the_file_that_nobody_can_write_to(tmp_path):
    shards = Shards(write(tmp_path / "s"))
    ids = next(shards[n]["ids"] for n in range(23) if len(shards[n]["ids"]))
    assert not ids.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 1


KILLED = """
import os, signal, sys, time
sys.path.insert(0, {folder!r})
import test_shards_helper as helper
import nonet.files
calls, real = 0, os.replace
def replace(*paths):
    global calls
    calls += 1
    if calls == {call} and not {after}:
        os.kill(os.getpid(), signal.SIGKILL)
    real(*paths)
    if calls == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
nonet.files.os.replace = replace
helper.write(helper.Path({out!r}))
"""


@pytest.mark.parametrize("call", [1, 2, 6, 7, 11])
@pytest.mark.parametrize("after", [False, True])
def test_killed_and_resumed_gives_the_same_bytes_as_undisturbed(tmp_path, call, after):
    """Rename 1 is of the first index, 2 of a shard, 3 of its index, ..., 11 of the last index."""
    helper = "from pathlib import Path\nfrom itertools import islice\nimport numpy as np\n"
    helper += "from nonet.data.shards import ShardWriter\nMETA = " + repr(META) + "\n"
    source = Path(__file__).read_text(encoding="utf-8")
    helper += source[source.index("def rows(") : source.index("def content(")]
    (tmp_path / "test_shards_helper.py").write_text(helper)
    out = tmp_path / "killed"
    code = KILLED.format(folder=str(tmp_path), call=call, after=after, out=str(out))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == -signal.SIGKILL, run.stderr
    if (call, after) != (11, True):
        with pytest.raises(UserError, match=r"incomplete, its writing was interrupted|no shards here"):
            Shards(out)
    assert content(write(out)) == content(write(tmp_path / "whole"))


def test_an_exception_keeps_the_complete_shards_and_position_counts_their_records(tmp_path):
    def interrupted():
        with ShardWriter.open(tmp_path / "s", META, rows_per_shard=5) as writer:
            for row in islice(rows(23), 12):
                writer.append(row)
                writer.consumed()
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    writer = ShardWriter.open(tmp_path / "s", META, rows_per_shard=5)
    assert (writer.position, writer.complete) == (10, False)
    writer.abandon()
    assert content(write(tmp_path / "s")) == content(write(tmp_path / "whole"))


def test_a_shard_ends_only_between_source_records(tmp_path):
    def several(folder, stop):
        """Record n has n % 4 rows; stops after so many records."""
        with ShardWriter.open(folder, {}, rows_per_shard=4) as writer:
            for n in range(writer.position, 20):
                for part in range(n % 4):
                    writer.append({"a": np.full(3, 10 * n + part)})
                writer.consumed()
                if n == stop:
                    raise KeyboardInterrupt
        return folder

    whole = several(tmp_path / "whole", None)
    for stop in range(20):
        with pytest.raises(KeyboardInterrupt):
            several(tmp_path / f"{stop}", stop)
        assert content(several(tmp_path / f"{stop}", None)) == content(whole)
    index = json.loads((whole / "index.json").read_text())
    assert index["position"] == 20
    assert (
        sum(entry["rows"] for entry in index["shards"]) == len(Shards(whole)) == sum(n % 4 for n in range(20))
    )


def test_bytes_end_a_shard_too(tmp_path):
    write(tmp_path / "s", 10, rows_per_shard=10**6, bytes_per_shard=1)
    assert len(list((tmp_path / "s").glob("*.safetensors"))) == 10


def test_a_finished_folder_opens_as_complete_and_takes_nothing_more(tmp_path):
    before = content(write(tmp_path / "s"))
    with ShardWriter.open(tmp_path / "s", META, rows_per_shard=5) as writer:
        assert (writer.complete, writer.position) == (True, 23)
        with pytest.raises(ValueError, match="complete; nothing can be added"):
            writer.append({"ids": np.zeros(1, np.int32)})
    assert content(tmp_path / "s") == before
    with pytest.raises(UserError, match="holds shards already; continue with --resume or name another"):
        ShardWriter(tmp_path / "s", META)


def test_other_settings_are_refused_by_the_first_key_that_differs(tmp_path):
    write(tmp_path / "s")
    for meta, match in [
        (
            {"tokenizer": "xyz", "ratio": 0.4},
            r'begun with tokenizer = "abc", not "xyz"; use the same settings',
        ),
        ({"tokenizer": "abc", "ratio": 0.4}, "begun with ratio = 0.3, not 0.4"),
        ({"tokenizer": "abc"}, 'begun with ratio = 0.3, not "nothing"'),
        (META | {"new": None}, 'begun with new = "nothing", not null'),
    ]:
        with pytest.raises(UserError, match=match):
            ShardWriter.open(tmp_path / "s", meta, rows_per_shard=5)
    with pytest.raises(UserError, match="begun with rows_per_shard = 5, not 6"):
        ShardWriter.open(tmp_path / "s", META, rows_per_shard=6)


def test_two_writers_in_one_folder_are_refused(tmp_path):
    pytest.importorskip("fcntl")
    writer = ShardWriter.open(tmp_path / "s", META)
    with pytest.raises(UserError, match="another process is writing shards here"):
        ShardWriter.open(tmp_path / "s", META)
    writer.abandon()
    ShardWriter.open(tmp_path / "s", META).close()


def test_rows_that_do_not_fit_are_refused(tmp_path):
    with ShardWriter(tmp_path / "s", {}) as writer:
        for row, match in [
            ({}, "at least one column"),
            ({"a": np.array(["text"])}, "column 'a' of dtype <U4 cannot be stored"),
            ({"a.offsets": np.zeros(1)}, r"column 'a\.offsets' of dtype float64 cannot be stored"),
        ]:
            with pytest.raises(ValueError, match=match):
                writer.append(row)
        writer.append({"a": np.zeros(2, np.int32)})
        for row, match in [
            ({"a": np.zeros(2)}, "row has columns a float64, the ones before have a int32"),
            ({"b": np.zeros(2, np.int32)}, "row has columns b int32, the ones before have a int32"),
            ({"a": np.zeros((2, 2), np.int32)}, r"column 'a' has shape \(2, 2\)"),
        ]:
            with pytest.raises(ValueError, match=match):
                writer.append(row)
    assert len(Shards(tmp_path / "s")) == 1


def test_damage_is_noticed_and_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no shards here \(index\.json is missing\)"):
        Shards(tmp_path / "nowhere")
    folder = write(tmp_path / "s")
    path = folder / "shard-00001.safetensors"
    good, index = path.read_bytes(), (folder / "index.json").read_text()

    path.write_bytes(good[:-1])
    with pytest.raises(
        UserError, match=rf"shard-00001\.safetensors: {len(good) - 1} bytes, the index says {len(good)}"
    ):
        Shards(folder)
    path.unlink()
    with pytest.raises(UserError, match=r"shard-00001\.safetensors: missing"):
        Shards(folder)
    path.write_bytes(good[:-1] + b"x")
    with pytest.raises(UserError, match=r"shard-00001\.safetensors: its content has changed"):
        Shards(folder).verify()
    path.write_bytes(b"\xff" * len(good))
    with pytest.raises(UserError, match=r"shard-00001\.safetensors: not a sound safetensors file"):
        Shards(folder)[7]
    path.write_bytes(good)
    Shards(folder).verify()

    for text, match in [
        ("{", "not an index of shards"),
        ("[]", "not an index"),
        (index.replace('"version": 1', '"version": 2'), "version 2, this program reads 1"),
        (index.replace('"position"', '"p"'), "no 'position'"),
    ]:
        (folder / "index.json").write_text(text)
        with pytest.raises(UserError, match=match):
            Shards(folder)


def test_broken_offsets_are_noticed(tmp_path):
    folder = write(tmp_path / "s", 5)
    path = folder / "shard-00000.safetensors"
    tensors = {name: array.copy() for name, array in map_tensors(path).items()}
    tensors["ids.offsets"][1] = 1 << 40
    assert write_tensors(path, tensors)[0] == path.stat().st_size
    with pytest.raises(UserError, match="the offsets of column 'ids' are broken"):
        Shards(folder)[0]


def test_an_unknown_column_names_the_ones_there_are(tmp_path):
    with pytest.raises(ValueError, match="no column 'text'; columns are ids, weights"):
        Shards(write(tmp_path / "s")).lengths("text")


def test_readers_pickle_small_and_may_be_many(tmp_path, monkeypatch):
    monkeypatch.setattr(shards_module, "OPEN_SHARDS", 2)
    shards = Shards(write(tmp_path / "s", 200))
    shards.lengths("ids")
    packed = pickle.dumps(shards)
    assert len(packed) < 1000
    expected = list(rows(200))
    order = np.random.default_rng(0).permutation(200)
    copies = [pickle.loads(packed) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda reader: [reader[int(n)] for n in order], copies):
            for n, row in zip(order, found, strict=True):
                same(row, expected[n])


def test_a_reader_waits_until_the_writer_is_done(tmp_path, monkeypatch):
    writer = ShardWriter(tmp_path / "s", {})
    writer.append({"x": np.arange(3)})
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            writer.consumed(5)
            writer.close()

    monkeypatch.setattr(shards_module.time, "sleep", pause)
    shards = await_shards(tmp_path / "s", pause=0.25)
    assert (len(shards), shards.records, pauses) == (1, 5, [0.25] * 3)
