"""Positions of features: the sines of transformers' detectors, number for number, and the mask of a map."""

import math

import torch
from transformers.models.table_transformer.modeling_table_transformer import (
    TableTransformerSinePositionEmbedding,
)

from updetr.positions import mask_of_map, sine_positions


def padded_mask():
    mask = torch.zeros(3, 7, 9, dtype=torch.bool)
    for image, (height, width) in enumerate([(7, 9), (4, 6), (1, 1)]):
        mask[image, :height, :width] = True
    return mask


def test_positions_are_those_of_transformers_to_the_last_bit():
    mask = padded_mask()
    theirs = TableTransformerSinePositionEmbedding(16, normalize=True)(torch.zeros(3, 1, 7, 9), mask)
    assert torch.equal(sine_positions(mask, 32), theirs.permute(0, 2, 3, 1))


def test_the_row_is_in_the_first_half_and_counts_only_what_is_valid():
    found = sine_positions(padded_mask(), 8)[1]  # 4 of 7 rows, 6 of 9 columns
    third_row, second_column = 3 / 4 * 2 * math.pi, 2 / 6 * 2 * math.pi
    assert torch.allclose(found[2, 1, 0], torch.tensor(math.sin(third_row)), atol=1e-5)
    assert torch.allclose(found[2, 1, 3], torch.tensor(math.cos(third_row / 100)), atol=1e-5)  # 10000^(2/4)
    assert torch.allclose(found[2, 1, 4], torch.tensor(math.sin(second_column)), atol=1e-5)


def test_a_mask_of_the_size_of_the_map_stays_what_it_is():
    mask = padded_mask()
    assert torch.equal(mask_of_map(mask, (7, 9)), mask)


def test_a_map_takes_the_pixel_at_the_corner_of_each_cell():
    mask = torch.zeros(1, 64, 96, dtype=torch.bool)
    mask[0, :33, :64] = True  # the second row of cells begins inside, the third column outside
    assert mask_of_map(mask, (2, 3)).tolist() == [[[True, True, False], [True, True, False]]]
