"""What holds for all completion objectives: empty masks, gradients, precision, names."""

import importlib
import inspect
import math
import pkgutil
import subprocess
import sys

import pytest
import torch
from torch.autograd import gradcheck

import nonet.vision_language.objectives as objectives
from nonet.testing import normal, whole
from nonet.vision_language.objectives import (
    answer_label,
    answer_scores,
    aspect_places,
    bidirectional_seq2seq,
    causal_lm,
    denoise,
    discrete_elbo,
    frame_contrast,
    frame_regression,
    knowledge_masking,
    masked_audio,
    masked_codes,
    masked_lm,
    masked_pixels,
    mean_over,
    modality_decoding,
    place_logits,
    prefix_lm,
    region_classification,
    region_kl,
    region_regression,
    scene_graph_prediction,
    sentiment_prediction,
    seq2seq_multitask,
    text_to_image_lm,
)

NONE = torch.zeros(2, 3, dtype=torch.bool)
EMPTY = torch.full((2, 3), -100)
EVERY = {  # name -> the loss of (2, 3, 4) logits or predictions where nothing is masked
    "masked_lm": lambda x: masked_lm(x, EMPTY),
    "causal_lm": lambda x: causal_lm(x, EMPTY),
    "bidirectional_seq2seq": lambda x: bidirectional_seq2seq(x, EMPTY, torch.tensor([True, False])),
    "denoise": lambda x: denoise(x, EMPTY, label_smoothing=0.1),
    "seq2seq_multitask": lambda x: seq2seq_multitask(x, EMPTY, torch.tensor([0, 1])),
    "answer_scores": lambda x: answer_scores(x[:, 0], torch.ones(2, 4), torch.zeros(2).bool()),
    "answer_label": lambda x: answer_label(x[:, 0], EMPTY[:, 0]),
    "region_regression": lambda x: region_regression(x, torch.ones(2, 3, 4), NONE),
    "region_smooth": lambda x: region_regression(
        x, torch.ones(2, 3, 4), NONE, distance="smooth-l1", confidence=torch.ones(2, 3)
    ),
    "region_classification": lambda x: region_classification(x, torch.ones(2, 3, 4), NONE),
    "region_kl": lambda x: region_kl(x, torch.full((2, 3, 4), 0.25), NONE),
    "masked_codes": lambda x: masked_codes(x, torch.zeros(2, 3).long(), NONE),
    "masked_pixels": lambda x: masked_pixels(x, normal(2, 3, 4), NONE),
    "frame_regression": lambda x: frame_regression(x, torch.ones(2, 3, 4), NONE),
    "frame_contrast": lambda x: frame_contrast(x, torch.ones(2, 3, 4), NONE, valid=NONE),
    "frame_contrast_batch": lambda x: frame_contrast(
        x, torch.ones(2, 3, 4), NONE, valid=NONE, negatives="batch"
    ),
    "text_to_image_lm": lambda x: text_to_image_lm(x, EMPTY, NONE),
    "scene_graph": lambda x: scene_graph_prediction(x, EMPTY, torch.ones(2, 3)),
    "knowledge_masking": lambda x: knowledge_masking(x, EMPTY, NONE),
    "sentiment": lambda x: sentiment_prediction(x[:, 0], EMPTY[:, 0]),
    "aspect_places": lambda x: aspect_places(x, EMPTY),
    "modality_decoding": lambda x: modality_decoding(x[..., 0], NONE),
    "masked_audio": lambda x: masked_audio(x, torch.ones(2, 3, 4), NONE),
}


@pytest.mark.parametrize("name", EVERY)
def test_an_empty_mask_gives_0_with_a_gradient_of_0(name):
    x = normal(2, 3, 4).requires_grad_()
    loss = EVERY[name](x).loss
    assert loss.item() == 0
    loss.backward()
    assert x.grad.eq(0).all()


def test_the_mean_lets_nothing_through_that_the_mask_leaves_out():
    values = torch.tensor([1.0, 2.0, math.nan, math.inf], requires_grad=True)
    mean = mean_over(values, torch.tensor([1, 1, 0, 0]))
    assert mean.item() == 1.5
    mean.backward()
    assert values.grad.tolist() == [0.5, 0.5, 0, 0]
    assert mean_over(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 1.0])).item() == 1.25
    assert mean_over(torch.zeros(0)).item() == 0


FULL = torch.ones(2, 3).bool()
SMOOTH = {
    "masked_lm": lambda x: masked_lm(x, whole(4, 2, 3)),
    "prefix_lm": lambda x: prefix_lm(x, whole(4, 2, 3), torch.tensor([0, 2])),
    "seq2seq_multitask": lambda x: seq2seq_multitask(x, whole(4, 2, 3), torch.tensor([0, 1])),
    "answer_scores": lambda x: answer_scores(x[:, 0], torch.full((2, 4), 0.3)),
    "region_regression": lambda x: region_regression(x, torch.ones(2, 3, 4), FULL),
    "region_kl": lambda x: region_kl(x, normal(2, 3, 4, seed=1).softmax(-1), FULL),
    "masked_pixels": lambda x: masked_pixels(x, normal(2, 3, 4, seed=1, dtype=torch.float64), FULL),
    "frame_contrast": lambda x: frame_contrast(
        x, normal(2, 3, 4, seed=1), torch.tensor([[True, False, False], [True, True, False]]), cosine=True
    ),
    "text_to_image_lm": lambda x: text_to_image_lm(x, whole(4, 2, 3), torch.tensor([[0, 0, 1]] * 2).bool()),
    "discrete_elbo": lambda x: discrete_elbo(x[:, 0, 0] ** 2, x, beta=2.0),
    "scene_graph": lambda x: scene_graph_prediction(x, whole(4, 2, 3), torch.tensor([[1, 2, 3]] * 2)),
    "place_logits": lambda x: aspect_places(
        place_logits(x, normal(2, 5, 4), normal(3, 4), torch.ones(2, 5).bool()), whole(8, 2, 3)
    ),
    "masked_audio": lambda x: masked_audio(x, torch.full((2, 3, 4), 9.0), FULL),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_are_those_of_finite_differences(name):
    x = normal(2, 3, 4, dtype=torch.float64).requires_grad_()
    assert SMOOTH[name](x).loss.dtype == torch.float64
    assert gradcheck(lambda value: SMOOTH[name](value).loss, [x])


@pytest.mark.parametrize("name", SMOOTH)
def test_bfloat16_is_computed_in_float32(name):
    x = normal(2, 3, 4).bfloat16().requires_grad_()
    loss = SMOOTH[name](x).loss
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(SMOOTH[name](x.detach().float()).loss.item(), rel=1e-5)
    loss.backward()
    assert x.grad.dtype == torch.bfloat16
    assert x.grad.isfinite().all()


def test_importing_the_objectives_loads_no_torch_and_every_name_is_there():
    code = "import sys, nonet.vision_language.objectives; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    for name in objectives.__all__:
        assert getattr(objectives, name) is not None
    assert set(objectives.__all__) <= set(dir(objectives))
    with pytest.raises(AttributeError, match="no attribute 'masked_ml'"):
        _ = objectives.masked_ml


def test_every_public_function_of_the_modules_is_in_the_package():
    found = {
        name
        for module in pkgutil.iter_modules(objectives.__path__, f"{objectives.__name__}.")
        for name, thing in inspect.getmembers(importlib.import_module(module.name), inspect.isfunction)
        if thing.__module__ == module.name and not name.startswith("_")
    }
    assert found - set(objectives.__all__) == {"widen"}  # for the modules alone
