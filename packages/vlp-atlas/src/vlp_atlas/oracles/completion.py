"""Worked examples of completion, generation and knowledge objectives: four rows and a known number (ours).

Most have uniform logits, whose cross entropy is the logarithm of how many there are; the others are small
enough for pen and paper.
"""

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


# Four rows of three tokens; row 1 has no target.
def _labels() -> "Tensor":
    return torch.tensor([[3, -100, 5], [-100, -100, -100], [0, 1, 2], [-100, 4, -100]])


def _first() -> "Tensor":
    return torch.tensor([[True, False, False]] * 4)


def _all() -> "Tensor":
    return torch.ones(4, 3, dtype=torch.bool)


def _uniform(classes: int) -> "Tensor":
    return torch.zeros(4, 3, classes)


def _masked_lm() -> float:
    return float(objectives.masked_lm(_uniform(30522), _labels()).loss)


def _masked_segments() -> float:
    seeded = torch.Generator().manual_seed(0)
    mask = objectives.choose_segments(torch.ones(4, 50_000, dtype=torch.bool), 0.3, seeded)
    return float(mask.float().mean())


def _region_regression() -> float:
    features = torch.arange(36.0).view(4, 3, 3)
    return float(objectives.region_regression(features + 2, features, _first()).loss)


def _region_classification() -> float:
    """The background has .9 everywhere; the logits favour class 2, like what is left of the detector."""
    detector = torch.tensor([0.9, 0.02, 0.08]).expand(4, 3, 3)
    logits = torch.tensor([0.0, 0.0, math.log(2)]).expand(4, 3, 3)
    return float(objectives.region_classification(logits, detector, _first()).loss)


def _region_kl() -> float:
    detector = torch.tensor([0.7, 0.3]).expand(4, 3, 2)
    return float(objectives.region_kl(_uniform(2), detector, _first()).loss)


def _masked_codes() -> float:
    return float(objectives.masked_codes(_uniform(8192), torch.zeros(4, 3, dtype=torch.long), _first()).loss)


def _masked_pixels() -> float:
    """Patches (1, 3): their normalised numbers are -1/√2 and 1/√2, as the variance has n - 1 = 1."""
    patches = torch.tensor([1.0, 3.0]).expand(4, 3, 2)
    return float(objectives.masked_pixels(torch.zeros(4, 3, 2), patches, _first()).loss)


def _frame_regression() -> float:
    frames = torch.ones(4, 3, 5)
    return float(objectives.frame_regression(frames + 1, frames, _first()).loss)


def _frame_contrast() -> float:
    return float(objectives.frame_contrast(torch.zeros(4, 3, 5), torch.ones(4, 3, 5), _first()).loss)


def _prefix_lm() -> float:
    """Only what follows the prefix costs something: all else is predicted wrongly, and does not count."""
    labels = torch.tensor([[0, 1, 2, 3]] * 4)
    logits = torch.zeros(4, 4, 4)
    logits[:, 0, 0] = 50.0  # of the token at 1, which is in the prefix
    return float(objectives.prefix_lm(logits, labels, torch.full((4,), 2)).loss)


def _causal_lm() -> float:
    return float(objectives.causal_lm(_uniform(4), torch.tensor([[0, 1, 2]] * 4)).loss)


def _bidirectional_seq2seq() -> float:
    kinds = torch.tensor([True, False, True, False])
    return float(objectives.bidirectional_seq2seq(_uniform(28996), _labels(), kinds).loss)


def _denoise() -> float:
    """The worked sentence of the documentation: a b c d e with b, c and e gone; six labels, 32 ids."""
    ids, spans = torch.tensor([[1, 2, 3, 4, 5]] * 4), torch.tensor([[False, True, True, False, True]] * 4)
    corrupted = objectives.corrupt_spans(
        ids, spans, torch.ones_like(spans), sentinels=torch.tensor([31, 30, 29]), pad_id=0
    )
    logits = torch.zeros(*corrupted.labels.shape, 32)
    logits[:, 0, 31] = math.log(31)  # the first sentinel has half the chance
    return float(objectives.denoise(logits, corrupted.labels).loss)


def _answers() -> float:
    scores = objectives.soft_scores(torch.tensor([[0, 1, 2, 3, 4]] * 4))
    return float(objectives.answer_scores(torch.zeros(4, 5), scores).loss)


def _multitask() -> float:
    """One task answers in two tokens over 4 ids, the other in one: each example counts once."""
    labels = torch.tensor([[1, 2], [3, -100], [0, 1], [2, -100]])
    logits = torch.zeros(4, 2, 4)
    logits[[1, 3], [0, 0], [3, 2]] = math.log(3)  # half the chance
    return float(objectives.seq2seq_multitask(logits, labels, torch.tensor([0, 1, 0, 1])).loss)


def _scene_graph() -> float:
    kinds = torch.tensor([[1, 2, 3]] * 4)
    return float(objectives.scene_graph_prediction(_uniform(30522), _labels().clamp_min(0), kinds).loss)


def _knowledge() -> float:
    return float(objectives.knowledge_masking(_uniform(1601), _labels(), _first()).loss)


def _aspects() -> float:
    """Three sentiments and an end are the labels, and a text of eight tokens of which four are padding."""
    valid = torch.tensor([[True] * 4 + [False] * 4] * 4)
    logits = objectives.place_logits(torch.zeros(4, 3, 6), torch.ones(4, 8, 6), torch.ones(4, 6), valid)
    return float(objectives.aspect_places(logits, torch.tensor([[4, 5, 2]] * 4)).loss)


def _sentiment() -> float:
    return float(objectives.sentiment_prediction(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])).loss)


def _modalities() -> float:
    losses = torch.tensor([[1.0, 9.0, 4.0], [3.0, 5.0, 9.0], [9.0, 9.0, 9.0], [9.0, 7.0, 6.0]])
    hidden = torch.tensor([[True, False, True], [True, True, False], [False] * 3, [False, True, True]])
    return float(objectives.modality_decoding(losses, hidden).loss)


def _audio() -> float:
    frames = torch.linspace(-1, 1, 60).view(4, 3, 5)
    return float(objectives.masked_audio(frames - 1, frames, _first()).loss)


def _text_to_image() -> float:
    """Two text tokens of which each has half the chance, then two codes with uniform logits over 16."""
    ids = torch.tensor([[0, 1, 2, 8, 9]] * 4)
    logits = torch.zeros(4, 5, 16)
    logits[:, [0, 1], [1, 2]] = math.log(15)
    image = torch.tensor([[False, False, False, True, True]] * 4)
    return float(objectives.text_to_image_lm(logits, ids, image).loss)


def _elbo() -> float:
    """Certain codes at three places out of 8192, and reconstructions that cost 10."""
    posterior = torch.zeros(4, 3, 8192)
    posterior[..., 7] = 100.0
    return float(objectives.discrete_elbo(torch.full((4,), 10.0), posterior, beta=0.5).loss)


ORACLES = {
    "mlm-uniform": Oracle("uniform logits over BERT's 30522 pieces: ln 30522", _masked_lm, 10.326203, CLOSE),
    "segment-share": Oracle(
        "segments of up to 10 tokens in 4 x 50000 that are to cover 30 %", _masked_segments, 0.3, 5e-3
    ),
    "mrfr-two-off": Oracle(
        "predictions that are 2 off in each of 3 numbers: 3 x 4", _region_regression, 12.0, CLOSE
    ),
    "mrc-background": Oracle(
        "detector (.9, .02, .08), logits (0, 0, ln 2): class 2 at 1/2", _region_classification,
        math.log(2), CLOSE,
    ),
    "mrc-kl-7-3": Oracle("detector (.7, .3), uniform prediction", _region_kl, 0.0822829, 1e-7),
    "mim-codes-uniform": Oracle(
        "uniform logits over 8192 codes: ln 8192", _masked_codes, 13 * math.log(2), CLOSE
    ),
    "mim-pixels": Oracle(
        "patches (1, 3) normalised, predictions of 0: 1/2", _masked_pixels, 0.5, 1e-5
    ),
    "mfm-one-off": Oracle("predictions that are 1 off in 5 numbers", _frame_regression, 5.0, CLOSE),
    "mfm-nce-two-negatives": Oracle(
        "equal scores, one masked and two unmasked frames: ln 3", _frame_contrast, math.log(3), CLOSE
    ),
    "prefixlm-behind": Oracle(
        "4 tokens, a prefix of 2, uniform logits over 4 behind it: ln 4", _prefix_lm, math.log(4), CLOSE
    ),
    "causal-lm-uniform": Oracle(
        "3 tokens, uniform logits over 4: ln 4", _causal_lm, math.log(4), CLOSE
    ),
    "bidt-uniform": Oracle(
        "two examples of each kind, uniform logits over 28996", _bidirectional_seq2seq,
        math.log(28996), 2e-6,
    ),
    "denoise-spans": Oracle(
        "labels <0> b c <1> e <2>, uniform over 32 but for the first: (ln 2 + 5 ln 32) / 6", _denoise,
        26 * math.log(2) / 6, CLOSE,
    ),
    "vqa-soft-zero": Oracle("5 answers with soft scores, logits 0: 5 ln 2", _answers, 5 * math.log(2), CLOSE),
    "multitask-mean": Oracle(
        "two examples at ln 4, two at ln 2, of lengths 2 and 1: 3/2 ln 2", _multitask,
        1.5 * math.log(2), CLOSE,
    ),
    "scene-graph-uniform": Oracle(
        "an object, an attribute and a relation, uniform logits: 3 ln 30522", _scene_graph,
        3 * math.log(30522), 1e-5,
    ),
    "kg-mask-uniform": Oracle(
        "anchors and neighbours, uniform logits over 1601 classes", _knowledge, math.log(1601), CLOSE
    ),
    "aspect-places-uniform": Oracle(
        "4 labels and 4 places that are no padding, equal scores: ln 8", _aspects, math.log(8), CLOSE
    ),
    "sentiment-uniform": Oracle("three sentiments, logits 0: ln 3", _sentiment, math.log(3), CLOSE),
    "modality-means": Oracle(
        "text (1 + 3)/2, image (5 + 7)/2, sound (4 + 6)/2, added up", _modalities, 13.0, CLOSE
    ),
    "mam-one-off": Oracle("audio frames that are 1 off: 1", _audio, 1.0, CLOSE),
    "t2i-one-eighth": Oracle(
        "text at ln 2, codes at ln 16: (1/8 + 7/8 x 4) ln 2", _text_to_image,
        (1 / 8 + 7 / 2) * math.log(2), CLOSE,
    ),
    "elbo-certain": Oracle(
        "reconstruction 10, beta 1/2, 3 certain codes of 8192: 10 + 3/2 ln 8192", _elbo,
        10 + 1.5 * 13 * math.log(2), 1e-5,
    ),
}  # fmt: skip
