"""Reading TensorFlow checkpoints without TensorFlow; the files were written by it (see
data/make_tf_checkpoint.py)."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonet.errors import UserError
from pegasus import protobuf
from pegasus.crc32c import crc32c, unmasked
from pegasus.tf_checkpoint import Checkpoint, find
from pegasus.tf_table import entries, unsnap

DATA = Path(__file__).parent / "data"


@pytest.fixture
def copy(tmp_path):
    """A copy of the three-shard checkpoint that a test may damage."""
    return Path(shutil.copytree(DATA / "tf_pegasus", tmp_path / "copy"))


# What TensorFlow reads


def test_every_variable_is_what_tensorflow_reads():
    checkpoint = Checkpoint(DATA / "tf_types")
    expected = np.load(DATA / "tf_types" / "expected.npz")
    names = set(expected.files) - {"many"}
    for name in names:
        assert checkpoint[name].dtype == expected[name].dtype, name
        np.testing.assert_array_equal(checkpoint[name], expected[name])
    many = np.stack([checkpoint[f"many/{i:03d}"] for i in range(200)])
    np.testing.assert_array_equal(many, expected["many"])
    assert set(checkpoint) == names | {f"many/{i:03d}" for i in range(200)} | {"words", "parts"}


def test_a_checkpoint_of_several_shards_is_read():
    checkpoint = Checkpoint(DATA / "tf_pegasus")
    assert checkpoint.shards == 3
    assert len({entry.shard for entry in checkpoint.entries.values()}) == 3
    assert len(checkpoint) == 118
    assert checkpoint["global_step"] == 1500
    assert checkpoint["encoder/layer_1/ffn/dense/kernel"].shape == (16, 24)
    assert (checkpoint["embeddings/weights/Adafactor"] == np.ones(120)).all()


@pytest.mark.parametrize(
    "name", ["", "model.ckpt-1500", "model.ckpt-1500.index", "model.ckpt-1500.data-00001-of-00003"]
)
def test_a_checkpoint_is_found_by_folder_beginning_or_file(name):
    assert find(DATA / "tf_pegasus" / name) == DATA / "tf_pegasus" / "model.ckpt-1500"


def test_strings_and_partitions_are_refused_only_when_asked_for():
    checkpoint = Checkpoint(DATA / "tf_types")
    with pytest.raises(UserError, match="words holds no numbers"):
        checkpoint["words"]
    with pytest.raises(UserError, match="parts is saved in partitions"):
        checkpoint["parts"]
    with pytest.raises(KeyError):
        checkpoint["nobody"]


# Damage


def test_a_changed_byte_of_a_variable_is_noticed(copy):
    shard = copy / "model.ckpt-1500.data-00001-of-00003"
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(content)
    checkpoint = Checkpoint(copy)
    entry = next(
        n for n, e in checkpoint.entries.items() if e.shard == 1 and e.offset <= 1000 < e.offset + e.size
    )
    with pytest.raises(UserError, match=f"checksum of {entry} is wrong; copy the file again"):
        checkpoint[entry]
    assert np.isfinite(Checkpoint(copy, verify=False)[entry]).all()


@pytest.mark.parametrize("at", [10, 300, 4000])
def test_a_changed_byte_of_the_index_is_noticed(copy, at):
    index = copy / "model.ckpt-1500.index"
    content = bytearray(index.read_bytes())
    content[at] ^= 4
    index.write_bytes(content)
    with pytest.raises(UserError, match=r"no readable checkpoint index \(the checksum of the block"):
        Checkpoint(copy)


@pytest.mark.parametrize("size", [0, 30, 4000])
def test_an_index_that_was_cut_off_is_noticed(copy, size):
    index = copy / "model.ckpt-1500.index"
    index.write_bytes(index.read_bytes()[:size])
    with pytest.raises(UserError, match="not those of a checkpoint index"):
        Checkpoint(copy)


def test_a_shard_that_was_cut_off_is_noticed(copy):
    shard = copy / "model.ckpt-1500.data-00001-of-00003"
    shard.write_bytes(shard.read_bytes()[:100])
    checkpoint = Checkpoint(copy)
    last = max(
        (n for n, e in checkpoint.entries.items() if e.shard == 1), key=lambda n: checkpoint.entries[n].offset
    )
    with pytest.raises(UserError, match=f"{last} is cut off; copy the file again"):
        checkpoint[last]


def test_a_missing_shard_is_named(copy):
    (copy / "model.ckpt-1500.data-00002-of-00003").unlink()
    checkpoint = Checkpoint(copy)
    name = next(n for n, e in checkpoint.entries.items() if e.shard == 2)
    with pytest.raises(UserError, match=r"data-00002-of-00003 not found in .*; the checkpoint has 3 of them"):
        checkpoint[name]


def test_a_missing_checkpoint_names_those_that_are_there(copy, tmp_path):
    with pytest.raises(
        UserError, match=r"model\.ckpt-7\.index not found in .*; there are model\.ckpt-1500\.index"
    ):
        Checkpoint(copy / "model.ckpt-7")
    with pytest.raises(UserError, match=r"model\.ckpt-N\.index not found"):
        Checkpoint(tmp_path)
    (copy / "checkpoint").unlink()
    assert find(copy).name == "model.ckpt-1500"
    shutil.copy(copy / "model.ckpt-1500.index", copy / "model.ckpt-2.index")
    with pytest.raises(
        UserError, match=r"several checkpoints \(model\.ckpt-1500\.index, model\.ckpt-2\.index\)"
    ):
        Checkpoint(copy)


def test_the_state_file_chooses_among_several(copy):
    for suffix in ("index", "data-00000-of-00003"):
        shutil.copy(copy / f"model.ckpt-1500.{suffix}", copy / f"model.ckpt-2.{suffix}")
    assert find(copy).name == "model.ckpt-1500"
    (copy / "checkpoint").write_text('model_checkpoint_path: "gs://bucket/model.ckpt-2"\n')
    assert find(copy).name == "model.ckpt-2"


# The parts


def bit_by_bit(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_the_checksum_of_the_digits_is_the_published_one():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(b"") == 0


@given(st.binary(max_size=40))
def test_the_checksum_is_that_of_bit_by_bit_division(data):
    assert crc32c(data) == bit_by_bit(data)


@given(st.integers(0, 2**32 - 1))
def test_unmasking_undoes_masking(crc):
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert unmasked(masked) == crc


def test_snappy_literals_and_copies():
    assert unsnap(bytes([0])) == b""
    assert unsnap(bytes([5, 4 << 2]) + b"hello") == b"hello"
    # "ab", then 8 bytes from 2 back in each of the three forms of a copy
    for copied in (bytes([(8 - 4) << 2 | 1, 2]), bytes([7 << 2 | 2, 2, 0]), bytes([7 << 2 | 3, 2, 0, 0, 0])):
        assert unsnap(bytes([10, 1 << 2]) + b"ab" + copied) == b"ab" * 5
    long = bytes(range(256)) * 2
    assert unsnap(bytes([0x80, 4, 61 << 2, 0xFF, 1]) + long) == long
    with pytest.raises(ValueError, match="before their beginning"):
        unsnap(bytes([10, 1 << 2]) + b"ab" + bytes([7 << 2 | 2, 3, 0]))
    with pytest.raises(ValueError, match="2 bytes instead of 9"):
        unsnap(bytes([9, 1 << 2]) + b"ab")


def test_a_compressed_table_is_read():
    """A table by hand: one entry, its data block stored as a Snappy literal."""

    def masked(data):
        crc = bit_by_bit(data)
        return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")

    def block(content, kind):
        return content + bytes([kind]) + masked(content + bytes([kind]))

    def one(key, value):
        return (
            bytes([0, len(key), len(value)])
            + key
            + value
            + (0).to_bytes(4, "little")
            + (1).to_bytes(4, "little")
        )

    plain = one(b"key", b"value")
    packed = bytes([len(plain), (len(plain) - 1) << 2]) + plain
    data = block(packed, 1)
    index = one(b"key", bytes([0, len(packed)]))
    table = data + block(index, 0)
    footer = bytes([0, 0, len(data), len(index)])
    table += footer.ljust(40, b"\0") + 0xDB4775248B80FB57.to_bytes(8, "little")
    assert list(entries(table)) == [(b"key", b"value")]


@given(
    st.lists(st.tuples(st.integers(1, 2000), st.one_of(st.integers(0, 2**64 - 1), st.binary(max_size=300))))
)
def test_messages_come_back(pairs):
    message = b"".join(protobuf.field(number, value) for number, value in pairs)
    read = [(n, v if isinstance(v, int) else bytes(v)) for n, v in protobuf.fields(message)]
    assert read == pairs


def test_a_message_that_is_cut_off_is_refused():
    message = protobuf.field(3, b"hello")
    with pytest.raises(ValueError, match="field 3 at byte 2 is cut off"):
        list(protobuf.fields(message[:-1]))
    with pytest.raises(ValueError, match="wire type 7"):
        list(protobuf.fields(b"\x07"))
    with pytest.raises(ValueError, match="cut off or too long"):
        list(protobuf.fields(b"\x80"))
