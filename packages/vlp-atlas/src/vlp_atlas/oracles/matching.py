"""Worked examples of matching, contrast, grounding and time: a few rows and a known number (ours)."""

import math
from typing import TYPE_CHECKING

from nonet.vision_language import objectives
from vlp_atlas.oracles import Later, Oracle

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Later("torch")

CLOSE = 1e-6
APART = 0.0822829
"""KL((.7, .3) || (.5, .5))"""


def _seven_three() -> "Tensor":
    return torch.tensor([0.7, 0.3]).log()


STEP = 0.1


def _matching() -> float:
    """A match is given 3/4 in all four pairs, of which two are matches."""
    logits = torch.tensor([0.0, math.log(3)]).expand(4, 2)
    return float(objectives.image_text_matching(logits, torch.tensor([1, 1, 0, 0])).loss)


def _hard_negatives() -> float:
    """The share of the likeliest negative of each of four queries."""
    draws = 10_000
    similarity = torch.full((4, 4), 9.0)
    for row in range(4):
        others = [at for at in range(4) if at != row]
        similarity[row, others] = torch.tensor([1.0, 2.0, 5.0]).log()
    drawn = objectives.hard_negatives(
        similarity.repeat(draws, 1),
        torch.Generator().manual_seed(0),
        positives=torch.arange(4).repeat(draws),
    )
    return float((drawn.view(draws, 4) == torch.tensor([3, 3, 3, 2])).float().mean())


def _contrast() -> float:
    return float(objectives.image_text_contrastive(torch.eye(2)).loss)


def _sigmoid() -> float:
    return float(objectives.sigmoid_contrastive(torch.eye(2), 1.0, 0.0).loss)


def _unified() -> float:
    """Each row has two right keys of four, and the others are ruled out."""
    labels = torch.tensor([0, 0, 1, 1])
    similarity = torch.where(labels[:, None] == labels, 0.0, -torch.inf)
    return float(objectives.unified_contrastive(similarity, labels).loss)


def _late_interaction() -> float:
    """One patch and one word each, and padding that would fit everything."""
    tokens = torch.stack([torch.eye(2), torch.full((2, 2), 9.0)], 1)
    mask = torch.tensor([[True, False]] * 2)
    return float(objectives.late_interaction_contrastive(torch.eye(2)[:, None], tokens, None, mask).loss)


def _several() -> float:
    scores = torch.tensor([[1.0, 1.0, 0.0]]).expand(4, 3)
    return float(objectives.mil_nce(scores, scores > 0).loss)


def _within() -> float:
    same = torch.eye(2)
    return float(objectives.intra_modal_contrastive(same, same, same, same, temperature=1.0).loss)


def _parts() -> float:
    parts = torch.eye(2)[:, None].expand(2, 2, 2)
    return float(objectives.local_global_contrastive(parts, torch.eye(2), temperature=1.0).loss)


def _margin() -> float:
    return float(objectives.hinge_ranking(torch.eye(2), margin=1.5).loss)


def _alignment() -> float:
    """Two unit vectors as words, and the same as regions in two pairs; others at right angles in the rest."""
    words = torch.eye(4)[:2].expand(4, 2, 4)
    regions = torch.stack([torch.eye(4)[:2]] * 2 + [torch.eye(4)[2:]] * 2)
    matched = torch.tensor([1, 1, 0, 0])
    return float(objectives.word_region_alignment(words, regions, matched=matched, iterations=1).loss)


def _named() -> "Tensor":
    """One query an image of four, of which the first token of four is the phrase."""
    return torch.tensor([[[True, False, False, False]]]).expand(4, 1, 4)


def _grounding() -> float:
    return float(objectives.phrase_grounding(torch.zeros(4, 1, 4), _named()).loss)


def _soft_tokens() -> float:
    positions = torch.zeros(1, 4, 255, dtype=torch.bool)
    positions[0, 0, 3:5] = True
    return float(objectives.soft_token_prediction(torch.zeros(1, 4, 256), positions).loss)


def _frame_order() -> float:
    labels = torch.tensor([[2, -100, 0], [-100, -100, -100], [1, 0, -100], [-100, 2, 1]])
    return float(objectives.frame_order(torch.zeros(4, 3, 100), labels).loss)


def _moments() -> float:
    spans = torch.tensor([[0, 1], [2, 4], [-1, -1], [3, 3]])
    return float(objectives.moment_start_end(torch.zeros(4, 5), torch.zeros(4, 5), spans).loss)


def _videos() -> float:
    scores = torch.tensor([[0.5, 0.45], [0.5, 0.45], [0.45, 0.5], [0.45, 0.5]])
    return float(objectives.video_query_ranking(scores, torch.tensor([0, 0, 1, 1])).loss)


def _detection() -> float:
    """Four queries that know no class; the matched box is half as high as the true one."""
    boxes = torch.tensor([0.5, 0.5, 0.2, 0.2]).expand(1, 4, 4)
    found = objectives.object_detection(
        torch.zeros(1, 4, 4),
        boxes,
        labels=torch.tensor([1]),
        true_boxes=torch.tensor([[0.5, 0.5, 0.2, 0.4]]),
        matches=torch.tensor([[0, 2]]),
    )
    return float(found.loss)


def _patches() -> float:
    labels = torch.tensor([0, 1, 2, 3])
    mask = torch.tensor([[True, False]] * 4)
    restored = (torch.zeros(4, 2, 2), _seven_three().expand(4, 2, 2), mask)
    choices = {"rotation": 4, "jigsaw": 24, "camouflage": 9}
    asked = {name: (torch.zeros(4, count), labels) for name, count in choices.items()}
    return float(objectives.aligned_patches(asked, {"grey": restored, "blank": restored}).loss)


def _action() -> float:
    return float(objectives.next_viewpoint(torch.zeros(4, 36), torch.tensor([0, 35, 7, -100])).loss)


def _distillation() -> float:
    return float(objectives.distill(torch.zeros(4, 2), _seven_three().expand(4, 2)).loss)


def _adversarial() -> float:
    """Embeddings are the logits, and equal: two steps lead to a margin of 2 sqrt(2) step."""

    def loss(logits: "Tensor") -> "Tensor":
        return torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 0, 1]))

    found = objectives.adversarial_loss(
        lambda embeddings: embeddings[0],
        [torch.zeros(4, 2)],
        loss,
        steps=2,
        step_sizes=[STEP],
        divergence_weight=1.0,
    )
    return float(found.loss)


def _after_steps() -> float:
    """The same from the margin: ln 2, then - ln p, then (p - 1/2) ln(p / (1 - p))."""
    margin = 2 * math.sqrt(2) * STEP
    right = 1 / (1 + math.exp(margin))
    return math.log(2) - math.log(right) - (right - 0.5) * margin


ORACLES = {
    "itm-three-quarters": Oracle(
        "a match at 3/4 in two matches and two others: - (ln 3/4 + ln 1/4) / 2", _matching,
        -(math.log(0.75) + math.log(0.25)) / 2, CLOSE,
    ),
    "itm-hn-share": Oracle(
        "others with weights 1, 2 and 5 in 40000 draws: the last in 5/8", _hard_negatives, 0.625, 0.01
    ),
    "itc-identity": Oracle(
        "similarities of the identity of size 2: ln(1 + 1/e)", _contrast, 0.3132617, 1e-7
    ),
    "sigmoid-identity": Oracle(
        "the identity of size 2, scale 1, bias 0: ln(1 + 1/e) + ln 2", _sigmoid, 1.0064089, 2e-7
    ),
    "unicl-pairs": Oracle(
        "two right keys with equal scores, the others ruled out: ln 2", _unified, math.log(2), CLOSE
    ),
    "filip-padded": Oracle(
        "one patch and one word each, and padding: as the plain contrast", _late_interaction,
        0.3132617, 1e-7,
    ),
    "mil-nce-two-one": Oracle(
        "two right candidates at 1, a wrong one at 0: ln(1 + 1/(2e))", _several, 0.1688476, 1e-7
    ),
    "imc-identity": Oracle(
        "unit vectors and the same as other views: ln(1 + 1/e)", _within, 0.3132617, 1e-7
    ),
    "lmi-two-parts": Oracle(
        "two parts each like their whole, two of another: ln(1 + 2/e)", _parts,
        math.log(1 + 2 / math.e), CLOSE,
    ),
    "hinge-half-beyond": Oracle(
        "the identity of size 2, margin 1.5: 1/2 in each direction", _margin, 1.0, CLOSE
    ),
    "wra-crossed": Oracle(
        "two pairs at .1192029 after one iteration, two others at 1", _alignment,
        (0.1192029 - 1) / 2, 1e-7,
    ),
    "grounding-even": Oracle(
        "scores 0, one token of four named: (1/4 + 3 x 3/4) x 1/4 ln 2", _grounding,
        0.625 * math.log(2), CLOSE,
    ),
    "soft-token-uniform": Oracle(
        "one named query and three others, uniform over 256: 1.3 ln 256", _soft_tokens,
        1.3 * math.log(256), 2e-6,
    ),
    "fom-uniform": Oracle("uniform scores over 100 places: ln 100", _frame_order, math.log(100), CLOSE),
    "vsm-local-uniform": Oracle(
        "uniform start and end over 5 frames: 2 ln 5", _moments, 2 * math.log(5), CLOSE
    ),
    "vsm-global-close": Oracle(
        "negatives .05 below, margin .1: .05 for videos and for queries", _videos, 0.1, CLOSE
    ),
    "detection-half-box": Oracle(
        "uniform over 4 classes, a box of half the height .4: ln 4 + 5 x .2 + 2 x 1/2", _detection,
        math.log(4) + 2, 2e-6,
    ),
    "akpm-five": Oracle(
        "uniform over 4, 24 and 9 choices, features (.7, .3) twice", _patches,
        math.log(4 * 24 * 9) + 2 * APART, 2e-6,
    ),
    "action-panorama": Oracle("equal scores of 36 views: ln 36", _action, math.log(36), CLOSE),
    "distill-7-3": Oracle("teacher (.7, .3), undecided student", _distillation, APART, 1e-7),
    "adv-linear": Oracle(
        "equal logits, two steps of .1 along the gradient: in closed form", _adversarial,
        _after_steps(), CLOSE,
    ),
}  # fmt: skip
