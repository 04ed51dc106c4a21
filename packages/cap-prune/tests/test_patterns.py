"""N of M neighbours and blocks against loops over every group."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cap_prune import toy
from cap_prune.patterns import Blocks, Neighbours, blocks, neighbours, uneven
from nonet.errors import UserError
from nonet.testing import needs


def few_values(rows, columns, seed):
    """Numbers of which many are equal."""
    return torch.randint(-2, 3, (rows, columns), generator=torch.Generator().manual_seed(seed)).float()


@given(
    rows=st.integers(1, 5), columns=st.integers(1, 11), of=st.integers(2, 5), seed=st.integers(0, 99),
    density=st.floats(0, 1), data=st.data(),
)  # fmt: skip
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_largest_of_every_group_stay_and_of_equal_ones_the_first(rows, columns, of, seed, density, data):
    keep = data.draw(st.integers(1, of - 1))
    values = few_values(rows, columns, seed)
    mask = Neighbours(keep, of).choose(values, density)
    many = max(keep, math.ceil(round(density * of, 6)))
    for row, marks in zip(values.tolist(), mask.tolist(), strict=True):
        for start in range(0, columns, of):
            group = row[start : start + of]
            order = sorted(range(len(group)), key=lambda place: (-group[place], place))[:many]
            assert marks[start : start + of] == [place in order for place in range(len(group))]


def test_2_of_4_leaves_at_most_two_of_every_four_and_passes_three_on_the_way():
    values = torch.randn(16, 32, generator=torch.Generator().manual_seed(0))
    pattern = neighbours("2:4")
    assert pattern.density == 0.5
    assert pattern.choose(values, 1.0).all()
    assert (pattern.choose(values, 0.7).unflatten(1, (-1, 4)).sum(-1) == 3).all()
    assert (pattern.choose(values, 0.5).unflatten(1, (-1, 4)).sum(-1) == 2).all()
    assert torch.equal(pattern.choose(values, 0.0), pattern.choose(values, 0.5))


@given(
    rows=st.integers(1, 7), columns=st.integers(1, 7), high=st.integers(1, 4), wide=st.integers(1, 4),
    seed=st.integers(0, 99), density=st.floats(0, 1),
)  # fmt: skip
@settings(max_examples=60, deadline=None, derandomize=True)
def test_blocks_of_largest_mean_stay_whole(rows, columns, high, wide, seed, density):
    values = few_values(rows, columns, seed)
    mask = Blocks(high, wide).choose(values, density)
    corners = [(top, left) for top in range(0, rows, high) for left in range(0, columns, wide)]
    means = []
    for top, left in corners:
        block = values[top : top + high, left : left + wide]
        means.append(float(block.sum() / block.numel()))
    kept = math.floor(round(density * len(corners), 6))
    order = sorted(range(len(corners)), key=lambda place: (-means[place], place))[:kept]
    wanted = torch.zeros(rows, columns, dtype=torch.bool)
    for place in order:
        top, left = corners[place]
        wanted[top : top + high, left : left + wide] = True
    assert torch.equal(mask, wanted)


def test_patterns_are_read_and_written_alike():
    assert str(neighbours("1:8")) == "1:8"
    assert blocks("4x1") == Blocks(4, 1)
    assert str(blocks("32x32")) == "32x32"


@pytest.mark.parametrize("text", ["4:2", "2:2", "0:4", "2-4", "", "2:4:8"])
def test_what_is_no_pattern_is_refused(text):
    with pytest.raises(UserError, match="is not N:M, such as 2:4"):
        neighbours(text)


@pytest.mark.parametrize("text", ["4", "0x4", "4x0", "axb"])
def test_what_is_no_block_is_refused(text):
    with pytest.raises(UserError, match="is not AxB, such as 4x1"):
        blocks(text)


def test_matrices_that_a_pattern_does_not_divide_are_named():
    model = toy.new_bert(layers=1, width=12, heads=2, neurons=18)
    assert uneven(model, neighbours("2:4")) == ["output of layer 0 is 12 x 18"]
    assert uneven(model, blocks("4x1")) == ["intermediate of layer 0 is 18 x 12"]
    assert uneven(model, neighbours("1:2")) == []


@pytest.mark.gpu
@needs("cuda")
@pytest.mark.filterwarnings("ignore:The PyTorch API of SparseSemiStructuredTensor")
def test_hardware_multiplies_2_of_4_like_a_dense_matrix():
    weight = torch.randn(128, 128, generator=torch.Generator().manual_seed(0))
    weight = torch.where(neighbours("2:4").choose(weight.abs(), 0.5), weight, 0).half().cuda()
    x = torch.randn(128, 128, generator=torch.Generator().manual_seed(1)).half().cuda()
    found = torch.nn.functional.linear(x, torch.sparse.to_sparse_semi_structured(weight))
    torch.testing.assert_close(found, torch.nn.functional.linear(x, weight), rtol=1e-2, atol=5e-2)
