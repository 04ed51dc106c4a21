"""Banks keep what is written, and extra examples follow from seed, step and bank."""

import numpy as np
import pytest
import torch

from cap_prune.banks import Banks, draw
from nonet.errors import UserError
from nonet.testing import normal


def unit(*shape, seed=0):
    return torch.nn.functional.normalize(normal(*shape, seed=seed), dim=-1)


def test_vectors_of_16_bits_change_a_cosine_by_less_than_a_thousandth():
    exact = unit(500, 384)
    banks = Banks(500, 384)
    banks.fill("pre", [(torch.arange(500), exact)])
    kept = banks.bank("pre")[:, 0].float()
    assert banks.table_NVd.dtype == torch.float16
    assert (kept @ exact.T - exact @ exact.T).abs().max() < 1e-3


def test_a_bank_is_written_in_any_order_and_is_there_when_it_is_complete():
    rows = unit(7, 4)
    banks = Banks(7, 4, snapshots=2, dtype="fp32")
    order = torch.tensor([6, 0, 3, 1, 2, 5, 4])
    for index in order.split(3):
        assert not banks.has("snap")
        banks.write("snap-1", index, rows[index])
    banks.finish("snap-1")
    assert banks.names == {"snap-1"}
    assert torch.equal(banks.bank("snap"), rows[:, None])
    banks.fill("snap-2", [(torch.arange(7), -rows)])
    assert torch.equal(banks.bank("snap"), torch.stack([rows, -rows], 1))
    assert banks.bank("snap").data_ptr() == banks.table_NVd[:, 2].data_ptr()  # a view: nothing is copied


def test_a_bank_that_lacks_examples_is_refused():
    banks = Banks(5, 4)
    with pytest.raises(ValueError, match="bank fine lacks 2 of 5 examples"):
        banks.fill("fine", [(torch.tensor([0, 4, 2]), unit(3, 4))])
    with pytest.raises(ValueError, match="bank fine is not complete"):
        banks.bank("fine")
    with pytest.raises(ValueError, match="no bank is called snap-1"):
        banks.fill("snap-1", [(torch.arange(5), unit(5, 4))])


def test_a_mapped_bank_keeps_the_same_and_lies_in_its_file(tmp_path):
    file = tmp_path / "banks" / "table"
    rows, width = unit(6, 4), 4
    mapped = Banks(6, width, snapshots=1, file=file)
    plain = Banks(6, width, snapshots=1)
    for banks in (mapped, plain):
        banks.fill("fine", [(torch.arange(6), rows)])
    assert torch.equal(mapped.bank("fine"), plain.bank("fine"))
    assert file.stat().st_size == 6 * 3 * width * 2
    stored = np.fromfile(file, np.float16).reshape(6, 3, width)
    assert (stored[:, 1] == plain.bank("fine")[:, 0].numpy()).all()
    with pytest.raises(ValueError, match="lies in the CPU's memory"):
        Banks(6, width, file=file, device="cuda")


def test_a_mapped_bank_that_the_disk_has_no_room_for_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"table: the banks need [\d.]+ GB, and the disk has [\d.]+ GB left"):
        Banks(10**12, 1000, file=tmp_path / "table")
    assert not (tmp_path / "table").exists()


def test_extra_examples_are_drawn_without_replacement_and_follow_from_seed_step_and_bank():
    first = draw(1000, 300, 1, 5, "pre")
    assert first.dtype == torch.int64
    assert len(first.unique()) == 300
    assert torch.equal(first, first.sort().values)
    assert torch.equal(first, draw(1000, 300, 1, 5, "pre"))
    for other in (draw(1000, 300, 1, 6, "pre"), draw(1000, 300, 1, 5, "snap"), draw(1000, 300, 2, 5, "pre")):
        assert not torch.equal(first, other)
    assert draw(10, 0, 0, 0, "pre").tolist() == []
    assert draw(10, 10, 0, 0, "pre").tolist() == list(range(10))
    assert draw(10, 4096, 0, 0, "pre").tolist() == list(range(10))


@pytest.mark.parametrize("count", [50, 20_000])  # numpy draws few out of many in another way
def test_every_example_is_drawn_equally_often(count):
    counts = np.zeros(count)
    for step in range(400):
        counts[draw(count, count // 100 or 1, 0, step, "pre").numpy()] += 1
    parts = counts.reshape(10, -1).sum(1)
    expected = counts.sum() / 10
    assert ((parts - expected) ** 2 / expected).sum() < 27.9  # chi squared with 9 degrees, 1 in 1 000
