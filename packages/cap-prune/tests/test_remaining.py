"""Counts of what is left against arithmetic by hand."""

import sys
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

sys.path.insert(0, str(Path(__file__).parent / "support"))
from baked_copies import baked

from cap_prune import toy
from cap_prune.layer_counts import parameters
from cap_prune.masked_layers import install
from cap_prune.movement import Movement
from cap_prune.remaining import remaining

WIDTH, NEURONS, LAYERS = 16, 24, 2
MATRICES = LAYERS * (4 * WIDTH * WIDTH + 2 * WIDTH * NEURONS)
ENCODER = MATRICES + LAYERS * (4 * WIDTH + NEURONS + WIDTH + 4 * WIDTH)  # biases, and two norms a layer


def new():
    return toy.new_bert(layers=LAYERS, width=WIDTH, heads=2, neurons=NEURONS)


def test_kept_weights_are_counted_exactly_with_masks_and_with_zeros():
    model = new()
    whole = sum(value.numel() for value in model.parameters())
    before = remaining(model)
    assert (before.matrices, before.encoder, before.model) == (MATRICES, ENCODER, whole)
    assert (before.density, before.encoder_share, before.model_share) == (1, 1, 1)
    layers = install(model, learn=True, chosen=False)
    Movement(0.1).decide(layers, 0.1)
    kept = LAYERS * (4 * int(0.1 * WIDTH**2) + 2 * int(0.1 * WIDTH * NEURONS))
    found = remaining(model)
    gone = MATRICES - kept
    assert found.matrices_kept == kept
    assert (found.encoder_kept, found.encoder) == (ENCODER - gone, ENCODER)
    assert (found.model_kept, found.model) == (whole - gone, whole)
    assert found == remaining(baked(model))
    assert parameters(baked(model)).nonzero_encoder == found.encoder_kept


def test_a_kept_weight_that_is_0_counts_while_there_is_a_mask():
    model = new()
    layers = install(model, learn=True, chosen=False)
    layers[0].weight.data[0, 0] = 0
    assert remaining(model).matrices_kept == MATRICES
    assert remaining(baked(model)).matrices_kept == MATRICES - 1


def test_the_encoder_of_bert_base_has_its_85_million_parameters():
    with torch.device("meta"):
        model = BertModel(BertConfig())
    layers = model.encoder.layer
    assert sum(value.numel() for value in layers.parameters()) == 85_054_464
    matrices = 12 * (4 * 768 * 768 + 2 * 768 * 3072)
    # One tenth of the matrices, with biases and norms: what papers call 10 % is a little more.
    assert (matrices // 10 + 85_054_464 - matrices) / 85_054_464 == pytest.approx(0.1013, abs=1e-4)


def test_shares_are_in_the_json():
    found = remaining(new()).to_dict()
    assert found["density"] == found["encoder_share"] == found["model_share"] == 1.0
    assert found["matrices"] == MATRICES
