"""What holds for all objectives of matching: nothing to learn from, gradients, precision."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import cross_entropy

from nonet.errors import UserError
from nonet.testing import normal
from nonet.vision_language.objectives import (
    adversarial_loss,
    contrastive_alignment,
    distill,
    frame_order,
    hinge_ranking,
    image_text_contrastive,
    image_text_matching,
    intra_modal_contrastive,
    late_interaction_contrastive,
    local_global_contrastive,
    mil_nce,
    moment_start_end,
    next_viewpoint,
    object_detection,
    patch_classification,
    patch_divergence,
    phrase_grounding,
    retrieval_agreement,
    sigmoid_contrastive,
    soft_token_prediction,
    unified_contrastive,
    video_query_ranking,
    word_region_alignment,
)

NONE = torch.zeros(2, 3).bool()
EMPTY = torch.full((2, 3), -100)
NOWHERE = torch.zeros(2, 3, 4).bool()
EVERY = {  # name -> the loss of (2, 3, 4) numbers where nothing counts
    "image_text_matching": lambda x: image_text_matching(x[:, 0, :2], EMPTY[:, 0]),
    "image_text_matching_one": lambda x: image_text_matching(x[:, 0, 0], EMPTY[:, 0]),
    "image_text_contrastive": lambda x: image_text_contrastive(x[0], x[1], targets=EMPTY[0]),
    "contrastive_shares": lambda x: image_text_contrastive(x[0], x[1], targets=torch.zeros(3, 4)),
    "mil_nce": lambda x: mil_nce(x[0], NOWHERE[0]),
    "mil_nce_no_candidates": lambda x: mil_nce(x[0], ~NOWHERE[0], NOWHERE[0]),
    "local_global": lambda x: local_global_contrastive(x, x[:, 0], NONE),
    "hinge_alone": lambda x: hinge_ranking(x[0, :1, :1]),
    "hinge_hardest": lambda x: hinge_ranking(
        x[0, :, :3], negatives="hardest", same=torch.ones(3, 3).bool(), margin=9.0
    ),
    "video_query_ranking": lambda x: video_query_ranking(x[0, :, :1], torch.zeros(3).long()),
    "word_region_alignment": lambda x: word_region_alignment(x, normal(2, 5, 4), matched=EMPTY[:, 0]),
    "no_words": lambda x: word_region_alignment(x, normal(2, 5, 4), NONE),
    "phrase_grounding": lambda x: phrase_grounding(x, NOWHERE, torch.zeros(2, 4).bool()),
    "soft_token": lambda x: soft_token_prediction(x, NOWHERE[..., 1:], no_object=0.0),
    "contrastive_alignment": lambda x: contrastive_alignment(x, normal(2, 4, 4), NOWHERE),
    "frame_order": lambda x: frame_order(x, EMPTY),
    "frame_order_valid": lambda x: frame_order(x, EMPTY, NONE),
    "moment_start_end": lambda x: moment_start_end(x[0], x[1], torch.full((3, 2), -1)),
    "patch_classification": lambda x: patch_classification(x, EMPTY),
    "patch_divergence": lambda x: patch_divergence(x, normal(2, 3, 4), NONE),
    "next_viewpoint": lambda x: next_viewpoint(x[0], EMPTY[0, :1].expand(3)),
    "distill": lambda x: distill(x, normal(2, 3, 4), NONE),
}


@pytest.mark.parametrize("name", EVERY)
def test_nothing_to_learn_from_gives_0_with_a_gradient_of_0(name):
    x = normal(2, 3, 4).requires_grad_()
    loss = EVERY[name](x).loss
    assert loss.item() == 0
    loss.backward()
    assert x.grad.eq(0).all()


WHERE = torch.tensor(
    [[[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]], [[0, 0, 0, 1], [1, 0, 1, 1], [0, 0, 0, 0]]]
).bool()
SMOOTH = {
    "image_text_matching": lambda x: image_text_matching(x[:, 0, :2], torch.tensor([0, 1])),
    "image_text_contrastive": lambda x: image_text_contrastive(x[0], x[1]),
    "unified_contrastive": lambda x: unified_contrastive(x[0, :, :3], torch.tensor([1, 1, 2])),
    "sigmoid_contrastive": lambda x: sigmoid_contrastive(x[0], 2.0, -1.0),
    "mil_nce": lambda x: mil_nce(x[0], WHERE[0], WHERE[0] | WHERE[1]),
    "late_interaction": lambda x: late_interaction_contrastive(
        x, normal(2, 5, 4).to(x.dtype), token_mask=torch.arange(5).expand(2, 5) < 3
    ),
    "intra_modal": lambda x: intra_modal_contrastive(x[0], x[1], x[0] * x[1], x[1]),
    "local_global": lambda x: local_global_contrastive(x, x[:, 0], ~NONE & (torch.arange(3) < 2)),
    "hinge_lse": lambda x: hinge_ranking(x[0, :, :3], kind="lse"),
    "video_query_ranking": lambda x: video_query_ranking(
        x[0], torch.tensor([0, 0, 3]), kind="lse", hard_pool=1
    ),
    "phrase_grounding": lambda x: phrase_grounding(x, WHERE),
    "soft_token": lambda x: soft_token_prediction(x, WHERE[..., 1:]),
    "contrastive_alignment": lambda x: contrastive_alignment(
        x, normal(2, 4, 4).to(x.dtype), WHERE, temperature=0.5
    ),
    "object_detection": lambda x: object_detection(
        x, x.sigmoid(), torch.tensor([0, 2]), torch.full((2, 4), 0.5), torch.tensor([[0, 2], [1, 0]]),
        attribute_logits=x, attributes=torch.tensor([3, -100]),
    ),
    "frame_order": lambda x: frame_order(x, torch.tensor([[1, -100, 0], [3, 2, -100]])),
    "moment_start_end": lambda x: moment_start_end(x[0], x[1], torch.tensor([[0, 3], [1, 1], [-1, -1]])),
    "patch_divergence": lambda x: patch_divergence(x, normal(2, 3, 4, seed=1), WHERE[..., 0]),
    "distill": lambda x: distill(x, normal(2, 3, 4, seed=1), temperature=0.5, scaled=True),
    "retrieval_agreement": lambda x: retrieval_agreement(x[0], x[1]),
}  # fmt: skip


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_are_those_of_finite_differences(name):
    x = normal(2, 3, 4, dtype=torch.float64).requires_grad_()
    assert SMOOTH[name](x).loss.dtype == torch.float64
    assert gradcheck(lambda value: SMOOTH[name](value).loss, [x])


@pytest.mark.parametrize("name", [*SMOOTH, "word_region_alignment"])
def test_bfloat16_is_computed_in_float32(name):
    smooth = SMOOTH | {
        "word_region_alignment": lambda x: word_region_alignment(x, normal(2, 5, 4).to(x.dtype))
    }
    x = normal(2, 3, 4).bfloat16().requires_grad_()
    loss = smooth[name](x).loss
    assert loss.dtype == torch.float32
    loss.backward()
    assert x.grad.dtype == torch.bfloat16
    assert x.grad.isfinite().all()


def test_what_is_logged_has_no_gradient():
    x = normal(2, 3, 4).requires_grad_()
    for objective in (*SMOOTH.values(), lambda x: word_region_alignment(x, normal(2, 5, 4))):
        assert not any(value.requires_grad for value in objective(x).aux.values())
    found = adversarial_loss(
        lambda e: e[0], [x[0]], lambda logits: cross_entropy(logits, torch.tensor([0, 1, 2]))
    )
    assert not any(value.requires_grad for value in found.aux.values())


def test_a_matrix_of_whole_numbers_is_refused_as_targets():
    with pytest.raises(UserError, match=r"\(2, 2\) and torch.bool: a matrix has float shares"):
        image_text_contrastive(torch.eye(2), targets=torch.eye(2, dtype=torch.bool))
