"""Retrieval against sorting, against permutations whose ranks are known, and with ties."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nonet.errors import UserError
from nonet.metrics.cross_modal import (
    CrossModal,
    Ties,
    cross_modal,
    dual_softmax,
    fold_mean,
    image_ranks,
    text_ranks,
)


def sorted_ranks(similarity: NDArray[Any], owner: NDArray[Any]) -> tuple[list[int], list[int]]:
    """Ranks from 1 by sorting every row and column, without ties."""
    to_image = [1 + np.argsort(-similarity[:, t]).tolist().index(owner[t]) for t in range(len(owner))]
    to_text = []
    for image, row in enumerate(similarity):
        order = np.argsort(-row).tolist()
        to_text.append(1 + min(order.index(text) for text in np.flatnonzero(owner == image)))
    return to_image, to_text


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 10**6), st.sampled_from([np.float32, np.float64]))
def test_ranks_equal_those_of_sorting(images: int, each: int, seed: int, dtype: Any) -> None:
    rng = np.random.default_rng(seed)
    owner = rng.permutation(np.repeat(np.arange(images), each))
    similarity = rng.permutation(images * len(owner)).reshape(images, -1).astype(dtype)  # no two are equal
    to_image, to_text = sorted_ranks(similarity, owner)
    assert text_ranks(similarity, owner).rank.tolist() == to_image
    assert image_ranks(similarity, owner).rank.tolist() == to_text
    found = cross_modal(similarity, owner, cuts=(1, 2))
    assert found.text_to_image.recall[2] == np.mean(np.array(to_image) <= 2)
    assert found.image_to_text.median_rank == np.median(to_text)
    assert found.image_to_text.mean_rank == pytest.approx(np.mean(to_text))


def test_recall_of_a_permutation_is_known() -> None:
    n = 12
    shift = (np.arange(n)[None] - np.arange(n)[:, None]) % n  # image i, text t: (t - i) mod n
    for away in (0, 3, 7):
        similarity = -((shift + away) % n)  # 0, -1, ..., and -away at the own image
        found = cross_modal(similarity)
        for direction in (found.text_to_image, found.image_to_text):
            assert direction.recall == {k: float(away < k) for k in (1, 5, 10)}
            assert direction.median_rank == direction.mean_rank == away + 1
            assert direction.ties == 0
        assert found.rsum == 200 * sum(away < k for k in (1, 5, 10))


def test_any_of_five_captions_is_enough_and_each_caption_is_a_query() -> None:
    similarity = np.zeros((2, 10))
    similarity[0, 4] = 9  # image 0: one good caption of five
    similarity[0, :4] = -1
    similarity[1] = np.arange(10) / 10
    similarity[1, 4] = 0.4
    found = cross_modal(similarity, cuts=(1,))
    assert found.image_to_text.recall == {1: 1.0}
    assert found.text_to_image.recall == {1: (1 + 5) / 10}  # of image 0's captions only the one


def test_many_blocks_give_the_same_as_one() -> None:
    rng = np.random.default_rng(0)
    similarity = rng.standard_normal((700, 1400))  # more rows than a byte counts
    owner = np.repeat(np.arange(700), 2)
    own = similarity[owner, np.arange(1400)]
    assert text_ranks(similarity, owner).rank.tolist() == (1 + (similarity > own).sum(0)).tolist()


@pytest.mark.parametrize(
    ("ties", "rank", "recall"), [("pessimistic", 10, 0.0), ("mid", 5.5, 0.0), ("optimistic", 1, 1.0)]
)
def test_a_constant_matrix_is_all_ties(ties: Ties, rank: float, recall: float) -> None:
    found = cross_modal(np.full((10, 10), 0.5), ties=ties, cuts=(1,))
    for direction in (found.text_to_image, found.image_to_text):
        assert (direction.mean_rank, direction.recall[1], direction.ties) == (rank, recall, 1.0)


def test_ties_among_the_own_captions_are_none() -> None:
    similarity = np.array([[3.0, 3.0, 1.0, 1.0], [0.0, 0.0, 2.0, 1.0]])
    found = cross_modal(similarity)
    assert found.image_to_text.ties == 0
    assert found.image_to_text.mean_rank == 1
    assert found.text_to_image.ties == 0.25  # text 3 likes both images
    assert found.text_to_image.recall[1] == 0.75


def test_folds_are_means_over_parts() -> None:
    rng = np.random.default_rng(3)
    similarity = rng.standard_normal((20, 100))
    found = fold_mean(similarity, folds=5)
    parts = [
        cross_modal(similarity[4 * k : 4 * k + 4, 20 * k : 20 * k + 20]) for k in range(5)
    ]  # texts of four images
    for direction in (0, 1):
        for cut in (1, 5, 10):
            assert found[direction].recall[cut] == pytest.approx(
                np.mean([part[direction].recall[cut] for part in parts])
            )
    assert found.rsum == pytest.approx(np.mean([part.rsum for part in parts]))
    assert found.text_to_image.queries == 100
    shuffled = rng.permutation(100)
    again = fold_mean(similarity[:, shuffled], np.repeat(np.arange(20), 5)[shuffled], folds=5)
    assert again.rsum == pytest.approx(found.rsum)
    with pytest.raises(UserError, match="20 images cannot be divided into 3 equal folds"):
        fold_mean(similarity, folds=3)


def test_dual_softmax_by_hand_and_only_when_asked() -> None:
    similarity = np.array([[2.0, 1.0], [2.0, 0.0]])
    down = np.exp(similarity) / np.exp(similarity).sum(0)
    across = np.exp(3 * similarity) / np.exp(3 * similarity).sum(1, keepdims=True)
    np.testing.assert_allclose(dual_softmax(similarity), similarity * down)
    np.testing.assert_allclose(dual_softmax(similarity, queries="columns", scale=3), similarity * across)
    assert np.isfinite(dual_softmax(similarity * 1e4)).all()
    hub = np.array(
        [[0.9, 0.8, 0.1], [0.9, 0.1, 0.85], [0.95, 0.1, 0.1]]
    )  # queries in rows; column 0 is liked by all
    gold = np.array([1, 2, 0])
    plain: CrossModal = cross_modal(hub.T, gold, cuts=(1,))
    better = cross_modal(dual_softmax(hub, scale=20).T, gold, cuts=(1,))
    assert (plain.text_to_image.recall[1], better.text_to_image.recall[1]) == (pytest.approx(1 / 3), 1)


def test_similarities_that_are_none_are_refused() -> None:
    bad = np.ones((2, 4))
    bad[1, 2] = np.nan
    with pytest.raises(UserError, match=r"row 1 and column 2 \(from 0\) is not a number"):
        cross_modal(bad)
    with pytest.raises(UserError, match="5 texts are not the same number for each of 2 images"):
        cross_modal(np.ones((2, 5)))
    with pytest.raises(UserError, match="1 images have no text, such as image 1"):
        cross_modal(np.ones((2, 2)), [0, 0])
    with pytest.raises(UserError, match="belongs to image 0 or 2"):
        cross_modal(np.ones((2, 2)), [0, 2])
    with pytest.raises(UserError, match="2 texts, but images of"):
        cross_modal(np.ones((2, 2)), [0])
    with pytest.raises(UserError, match="are a matrix of numbers"):
        cross_modal([])
    with pytest.raises(UserError, match="no rule 'random'"):
        cross_modal(np.ones((2, 2)), ties="random")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="from 1"):
        cross_modal(np.ones((2, 2)), cuts=[0])
    with pytest.raises(UserError, match="rows or columns"):
        dual_softmax(np.ones((2, 2)), scale=0)


def test_infinite_similarities_are_numbers() -> None:
    masked = np.array([[1.0, -np.inf], [-np.inf, -np.inf]])
    found = cross_modal(masked, cuts=(1,))
    assert found.text_to_image.recall[1] == 0.5  # text 1 ties
    assert found.image_to_text.ties == 0.5
