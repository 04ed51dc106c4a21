import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from nonet.data.image_text_pairs import read_pairs
from nonet.data.web_shards import ShardWriter, find_shards, read_shard
from nonet.errors import UserError


def jpeg(number):
    file = io.BytesIO()
    noise = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def write(folder, count=5, samples=2):
    writer = ShardWriter(folder, samples=samples)
    for number in range(count):
        writer.add(jpeg(number), ".png", (f"Caption {number}.", "é"), str(number) if number % 2 else "")
    writer.close()
    return writer.written


def test_what_is_written_is_read(tmp_path):
    shards = write(tmp_path)
    assert [path.name for path in shards] == ["pairs-000000.tar", "pairs-000001.tar", "pairs-000002.tar"]
    table = read_pairs([tmp_path])
    assert [table.captions_of(i) for i in range(5)] == [[f"caption {i}", "é"] for i in range(5)]
    assert table.ids[1] == "1"
    assert table.ids[3] == "3"
    assert table.ids[2] == f"{shards[1]}:00000002.png"
    assert table.path(0) is None
    for number in (4, 0, 3):
        assert table.data(number) == jpeg(number)
        assert np.array_equal(
            np.asarray(table.open(number)), np.asarray(Image.open(io.BytesIO(jpeg(number))))
        )


def test_equal_samples_give_equal_bytes(tmp_path):
    for one, other in zip(write(tmp_path / "a"), write(tmp_path / "b"), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_other_programs_read_them(tmp_path):
    with tarfile.open(write(tmp_path)[0]) as tar:
        assert tar.getnames() == [
            f"0000000{n}{ending}" for n in (0, 1) for ending in (".png", ".json", ".txt")
        ]
        assert tar.extractfile("00000001.txt").read() == b"Caption 1."


def test_shards_of_others_are_read(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, data in {
            "./sub/1.v2.jpg": jpeg(1),
            "./sub/1.v2.txt": b"one",
            "sub/2.png": jpeg(2),
            "sub/2.json": b'{"caption": "two", "url": "x", "image_id": 9}',
            "3.txt": b"no image",
            "4.png": jpeg(4),
        }.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    said = []
    table = read_pairs([tmp_path / "x.tar"], remark=said.append)
    assert [table.captions_of(i) for i in range(len(table))] == [["two"]]
    assert table.ids[0] == f"{tmp_path}:9"
    assert said == ["left out: 3 samples of shards without an image or a caption"]


def test_shards_are_named_by_range_glob_or_folder(tmp_path):
    shards = write(tmp_path)
    assert find_shards(tmp_path / "pairs-{000000..000002}.tar") == shards
    assert find_shards(tmp_path / "pairs-*.tar") == shards
    assert find_shards(tmp_path) == shards
    assert find_shards(tmp_path / "pairs.json") == []
    with pytest.raises(UserError, match=r"pairs-000003.tar: no such shard"):
        find_shards(tmp_path / "pairs-{000001..000003}.tar")
    with pytest.raises(UserError, match="no such shard"):
        find_shards(tmp_path / "other-*.tar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"a folder without \.tar shards"):
        find_shards(tmp_path / "empty")


def test_a_shard_that_was_cut_off_is_refused(tmp_path):
    shard = write(tmp_path)[0]
    whole = shard.read_bytes()
    for size in (700, 1500, 5000):
        shard.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"pairs-000000.tar: not a whole tar file"):
            list(read_shard(shard))
    (tmp_path / "text.tar").write_text("not one")
    with pytest.raises(UserError, match=r"text.tar: not a whole tar file"):
        list(read_shard(tmp_path / "text.tar"))


def test_a_damaged_image_is_named_with_its_shard(tmp_path):
    writer = ShardWriter(tmp_path)
    writer.add(jpeg(0)[:60], ".png", ("cut off",))
    writer.close()
    with pytest.raises(UserError, match=r"pairs-000000.tar:00000000.png: cannot be decoded"):
        read_pairs([tmp_path]).open(0)


def test_shards_are_not_written_over(tmp_path):
    write(tmp_path)
    with pytest.raises(UserError, match="has shards"):
        ShardWriter(tmp_path)
