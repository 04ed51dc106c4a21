"""Which patches matter to a text: scores for `TextAwareMix`, from boxes, attention, cosines, or nothing.

    tpp     log-probability of the patch predictor, which boxes trained (paper; the released code)
    attn    the attention of CLS over the patches in one block: no boxes, and no text either (ours)
    itc     cosines of projected patch tokens behind the last block with the text's feature (ours)
    random  nothing: for windows at random places

Scores have no gradient: they say where to cut, and are not learned from what that costs.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from nonet.errors import UserError
from nonet.vision_language.pair_data import TextBatch
from nonet.vision_language.pair_folders import LoadedPair, load_extra
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.patch_detector import PREDICTOR, PatchDetector
from nonet.vision_language.vision import VisionTower

# Shapes: B pairs, N = Gh x Gw patches, S = 1 + N tokens of an image, L of a text, d width.

Score = Literal["tpp", "attn", "itc", "random"]


class Passed(NamedTuple):
    """Images on their way through the vision tower.

    Attributes:
        before: (B, S, d), the input of the block that is looked at.
        behind: (B, S, d), its output.
        tokens: (B, S, text's width), what the tower gives.
    """

    before: Tensor
    behind: Tensor
    tokens: Tensor


def pass_through(vision: VisionTower, embedded: Tensor, block: int) -> Passed:
    """Take embedded images through all blocks, and keep what stands around one of them.

    Args:
        vision: the tower.
        embedded: (B, S, d), from `vision.embed` or `vision.from_patches`.
        block: its number, from 0.

    Raises:
        UserError: the tower has no such block.
    """
    check_block(vision, block)
    before = vision.blocks(embedded, 0, block)
    behind = vision.blocks(before, block, block + 1)
    return Passed(before, behind, vision.finish(vision.blocks(behind, block + 1)))


def patch_scores(
    score: Score,
    model: PairModel,
    passed: Passed,
    text: Tensor,
    *,
    block: int,
    detector: PatchDetector | None = None,
) -> Tensor:
    """How much each patch of an image matters to the text of its own pair.

    Args:
        score: which back-end, as in the module's docstring.
        model: whose towers the images and texts went through.
        passed: the images, from `pass_through` with the same block.
        text: (B, L, d) tokens of the texts.
        block: that is looked at, from 0.
        detector: the patch predictor, for tpp.

    Returns:
        (B, Gh, Gw) float32, higher for what matters more; log-probabilities for tpp, shares of attention for
        attn, cosines for itc, zeros for random. No gradient.

    Raises:
        UserError: there is no such score, or tpp without a predictor.
    """
    if score not in get_args(Score):
        raise UserError(f"score {score}: say {', '.join(get_args(Score))}")
    grid = model.vision.grid
    with torch.no_grad():
        if score == "tpp":
            if detector is None:
                raise UserError(
                    "score tpp needs a patch predictor, which learns from regions: give a file of them, or "
                    "take score attn, itc or random, which need none"
                )
            found = detector.log_score(detector(passed.behind[:, 1:], text[:, 0]))
        elif score == "attn":
            found = model.vision.cls_attention(passed.before, block)
        elif score == "itc":
            patches = F.normalize(model.vision_proj(passed.tokens[:, 1:]).float(), dim=-1)
            found = torch.einsum("bne,be->bn", patches, model.text_features(text).float())
        else:
            found = passed.tokens.new_zeros(len(passed.tokens), grid[0] * grid[1])
        return found.float().unflatten(1, grid)


@torch.no_grad()  # type: ignore[untyped-decorator]
def scores_of_pairs(
    loaded: LoadedPair, score: Score, images: Tensor, captions: Sequence[str], block: int
) -> Tensor:
    """Scores of some pairs by a model that was saved.

    Args:
        loaded: a model folder, opened; with a patch predictor in it, for tpp.
        score: which back-end.
        images: (B, 3, H, W) float32, normalised.
        captions: B texts.
        block: of the vision tower that is looked at, from 0.

    Returns:
        (B, Gh, Gw) float32, as `patch_scores` gives them.

    Raises:
        UserError: the folder has no predictor, for tpp; no such block.
    """
    model = loaded.model.eval()
    detector = None
    if score == "tpp":
        detector = PatchDetector(model.vision.width, text_width=model.text.width)
        if not load_extra(loaded.folder, PREDICTOR, detector):
            raise UserError(
                f"{loaded.folder}: has no patch predictor, which learns from regions: take score attn, itc "
                "or random, which need none"
            )
        detector.eval()
    ids, mask = TextBatch(loaded.tokenizer, model.config.max_length)(captions)
    passed = pass_through(model.vision, model.vision.embed(images), block)
    return patch_scores(score, model, passed, model.encode_text(ids, mask), block=block, detector=detector)


def score_entropy(log_scores: Tensor) -> Tensor:
    """Mean entropy of the predictor's answers: whether it knows captions, having learned short phrases.

    Args:
        log_scores: (...) log-probabilities, as tpp gives them.

    Returns:
        () float32 in nats: 0 if it is sure of every patch, ln 2 = 0.693147 if it knows nothing.
    """
    yes = log_scores.float().exp()
    return -(torch.special.xlogy(yes, yes) + torch.special.xlogy(1 - yes, 1 - yes)).mean()


def check_block(vision: VisionTower, block: int) -> None:
    """Check that a tower has a block.

    Raises:
        UserError: it has not.
    """
    if not 0 <= block < vision.depth:
        raise UserError(
            f"block {block}: the vision tower has blocks 0 to {vision.depth - 1}; set tpp.loc to one of them"
        )
