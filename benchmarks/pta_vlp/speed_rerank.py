"""Re-ranking of retrieval: pairs through the matching head, against the loops of ALBEF's evaluation.

Fusions of BERT's base size with random weights, on one thread. Both get the same tokens of images and texts
and the same cosines, and give the same scores to the same candidates; five texts an image, as in Flickr30k
and COCO. ALBEF computes an image's keys and values for each pair, pads texts to 30 word pieces and scores
pairs that are near both ways twice (`albef_rerank.py`); ours computes them once per image, sorts texts by
length, scores a pair once, and runs the last layer for CLS alone. With 1,000 images and 128 candidates an
image's keys serve some 750 pairs, here some 25: the small sets of this file understate that part.

Two further rows compare late selection (half of the patches for each text, `pta_vlp.late_selection`) with
ours at full length. Their scores differ by design; that they are right is for the tests. Without connected
layers an image's keys are there already, so there is little left to save; with mPLUG's connected layers each
pair pays for each of its image tokens.

    python -m benchmarks.pta_vlp.speed_rerank
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from benchmarks.harness import Row, save, table, versus
from benchmarks.pta_vlp.albef_rerank import LENGTH, NO_CANDIDATE, rerank
from torch import Tensor

from nonet.vision_language.caption_tokenizer import train_tokenizer
from nonet.vision_language.pair_config import TINY, PairConfig
from nonet.vision_language.pair_data import TextBatch
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.patch_detector import PatchDetector
from nonet.vision_language.tasks.pair_matching import EncodedTexts, Matching, SeenImages
from nonet.vision_language.tasks.retrieval import candidates
from pta_vlp.late_selection import LateMatching
from pta_vlp.pruned_vision import PrunedVision
from pta_vlp.select_options import SelectOptions

SEED = 0
TEXTS = 5  # of an image
WORDS = (6, 17)  # of a caption, each as likely: 11 on average, and two ends; COCO's have 10.5
BASE = dataclasses.replace(
    TINY, vit_width=96, vit_depth=2, vit_heads=2, patch=16, text_width=768, text_heads=12, text_hidden=3072,
    text_layers=1, fusion_layers=6, decoder_layers=0, embed=256, dropout=0.0, vit_attention_dropout=0.0,
)  # fmt: skip
"""towers are small, as nothing of them is timed"""
PLAIN = {
    "257 image tokens": (dataclasses.replace(BASE, image=256), 10, 5),
    "577 image tokens": (dataclasses.replace(BASE, image=384), 6, 4),
}
"""configuration, images, candidates of each query"""
SMALL = dataclasses.replace(BASE, image=64, text_width=64, text_heads=2, text_hidden=64, fusion_layers=2)


class Inputs(NamedTuple):
    """What both sides are given."""

    model: PairModel
    seen: SeenImages
    texts: EncodedTexts
    padded: tuple[Tensor, Tensor]
    """tokens (T, 30, d) and mask (T, 30) of the texts"""
    cosines: Tensor
    late: LateMatching


def main(*, tiny: bool = False) -> list[Row]:
    """A row against ALBEF's loops for each size, and two of late selection against none."""
    torch.set_num_threads(1)
    how: dict[str, Any] = {"rounds": 1, "min_seconds": 0} if tiny else {"rounds": 3}
    rows = []
    with torch.inference_mode():
        for name, (config, images, k) in ({"tiny": (SMALL, 3, 2)} if tiny else PLAIN).items():
            made = made_up(config, images)
            ours, count = partial(our_rerank, made, k), pairs_of(made, k)
            peer = partial(rerank, made.model, made.seen.tokens, *made.padded, made.cosines, k)
            row = versus(
                f"re-ranking with {name}, against ALBEF's loops", ours, peer, same_scores, unit="queries",
                per_call=images * (1 + TEXTS), **how,
            )  # fmt: skip
            rows.append(row | {"our_pairs": count, "peer_pairs": images * (1 + TEXTS) * k})
        for name, stride in (("no connected layers", 0), ("every third layer connected", 3)):
            config = dataclasses.replace(SMALL if tiny else PLAIN["257 image tokens"][0], stride=stride)
            made = made_up(config, 2)
            late, whole = partial(our_rerank, made, 2, made.late), partial(our_rerank, made, 2)
            row = versus(
                f"half of the patches for each text, {name}, against all", late, whole, same_candidates,
                unit="queries", per_call=2 * (1 + TEXTS), **how,
            )  # fmt: skip
            rows.append(row)
    print(table(rows))
    if not tiny:
        save(
            "pta-vlp", rows, table="rerank", seed=SEED,
            data=f"random fusions of 6 layers of 768, captions of {WORDS[0]} to {WORDS[1]} words, "
            + ", ".join(f"{images} images, {k} candidates, {name}" for name, (_, images, k) in PLAIN.items()),
        )  # fmt: skip
    return rows


def made_up(config: PairConfig, images: int) -> Inputs:
    """A random model, noise for images, and captions of made-up words."""
    random = np.random.default_rng(SEED)
    words = [first + second for first in "bdfgklmnprst" for second in ("a", "e", "i", "o", "u")]
    tokenizer = train_tokenizer([" ".join(words)] * 2, 256)
    config = dataclasses.replace(config, vocabulary=256)
    torch.manual_seed(SEED)
    model = PairModel(config).eval()
    captions = [
        " ".join(random.choice(words, int(random.integers(WORDS[0], WORDS[1] + 1))))
        for _ in range(images * TEXTS)
    ]
    pieces = TextBatch(tokenizer, LENGTH)
    detector = PatchDetector(config.vit_width, text_width=config.text_width).eval()
    late = LateMatching(model, PrunedVision(model.vision, detector, SelectOptions(block=0)))
    pixels = torch.randn(images, 3, *config.image_size, generator=torch.Generator().manual_seed(SEED))
    seen = late.see(pixels)
    texts = EncodedTexts(model, captions, pieces, batch=64, device="cpu", tokens=True)
    ids, mask = pieces([*captions, " ".join(words)])  # the last one fills all places, and is dropped
    ids, mask = ids[:-1], mask[:-1]
    cosines = model.image_features(seen.tokens) @ texts.features.T
    return Inputs(model, seen, texts, (model.encode_text(ids, mask), mask), cosines, late)


def our_rerank(made: Inputs, k: int, matching: Matching | None = None) -> tuple[Tensor, Tensor]:
    """The second stage as `evaluate_retrieval` has it."""
    matching = Matching(made.model) if matching is None else matching
    to_text, to_image = candidates(made.cosines, k)
    logits = torch.full_like(made.cosines, NO_CANDIDATE)
    for image, wanted in enumerate(to_text | to_image):
        chosen = wanted.nonzero()[:, 0]
        logits[image, chosen] = matching.scores(made.seen.one(image), made.texts, chosen, batch=32)
    return logits.masked_fill(~to_text, NO_CANDIDATE), logits.masked_fill(~to_image, NO_CANDIDATE)


def pairs_of(made: Inputs, k: int) -> int:
    """Pairs that ours scores."""
    to_text, to_image = candidates(made.cosines, k)
    return int((to_text | to_image).sum())


def same_scores(ours: tuple[Tensor, Tensor], peers: tuple[Tensor, Tensor]) -> bool | str:
    """Equal candidates and scores, but for rounding."""
    far = max(float((one - other).abs().max()) for one, other in zip(ours, peers, strict=True))
    return far < 1e-4 or f"scores are up to {far:g} apart"


def same_candidates(ours: tuple[Tensor, Tensor], peers: tuple[Tensor, Tensor]) -> bool | str:
    """Scores for equal candidates; the scores themselves differ where patches are dropped."""
    for one, other in zip(ours, peers, strict=True):
        if not torch.equal(one == NO_CANDIDATE, other == NO_CANDIDATE):
            return "other candidates were scored"
    return True


if __name__ == "__main__":
    main()
