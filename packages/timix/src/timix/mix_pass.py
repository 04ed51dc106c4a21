"""Mixed images on their way through the model, and their loss, from what the main pass has computed already.

Scores of the main pass say where to cut. Windows are pasted among the embeddings of patches, before positions
are added, which gives the bits of pasted pixels without a second look at them; texts are not encoded again.
The released code did both (`pretrain_mplug.py`, `model_mplug.py`).
"""

from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nonet.training.gathering import gather_rows
from nonet.vision_language.feature_queue import FeatureQueue
from nonet.vision_language.pair_losses import PairStep
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.pair_passes import See, Seen, look
from nonet.vision_language.patch_detector import PatchDetector
from timix.mixed_loss import mixed_itc
from timix.mixed_targets import Mode, mix_targets, text_targets
from timix.mixgen import join_texts
from timix.scoring import Passed, Score, check_block, patch_scores, score_entropy
from timix.text_aware_mix import MixPlan, TextAwareMix

# Shapes: B pairs of this process, M mixed images of them, C pairs of all processes, e shared space.


class MixPass:
    """Plans mixed images, takes them through the model, and gives their loss.

    Args:
        mixer: what is mixed with what.
        score: what its scores come from.
        block: vision block that is looked at for them, from 0.
        labels: hard, soft or blend.
        smoothing: share of the labels that goes to all texts.
        fraction: share of the images that are mixed.
        space: where windows are pasted.
        queue: put the queue's features in the way.
    """

    def __init__(
        self,
        mixer: TextAwareMix,
        *,
        score: Score,
        block: int,
        labels: Mode = "hard",
        smoothing: float = 0.0,
        fraction: float = 1.0,
        space: Literal["tokens", "pixels"] = "tokens",
        queue: bool = False,
    ) -> None:
        self.mixer, self.score, self.block, self.labels = mixer, score, block, labels
        self.smoothing, self.fraction, self.space, self.queue = smoothing, fraction, space, queue

    @property
    def guided(self) -> bool:
        """Whether it looks at scores."""
        return self.mixer.region in ("maxmin", "aligned")

    def see(self) -> See:
        """What the main pass has to keep, as `PairLosses(see=...)` takes it."""
        if not self.guided or self.score in ("itc", "random"):
            return look
        if self.score == "tpp":
            return partial(look, middle=self.block)
        return partial(look, middle=self.block - 1) if self.block else _look_before_blocks

    def scores(self, model: PairModel, found: PairStep, detector: PatchDetector | None) -> Tensor:
        """(B, Gh, Gw) float32, of each image's patches for its own text; no gradient."""
        seen = found.seen
        if not self.guided:
            return seen.tokens.new_zeros(len(seen.tokens), *model.vision.grid, dtype=torch.float32)
        check_block(model.vision, self.block)
        middle = seen.tokens if seen.middle is None else seen.middle
        scores = patch_scores(
            self.score, model, Passed(middle, middle, seen.tokens), found.text_tokens,
            block=self.block, detector=detector,
        )  # fmt: skip
        if self.score == "tpp":
            found.logged["score_entropy"] = (score_entropy(scores), torch.ones_like(found.tau.detach()))
        return scores

    def plan(self, scores: Tensor, random: np.random.Generator) -> MixPlan:
        """What is mixed with what: all images, or a share of them drawn by `random`."""
        plan = self.mixer.plan(scores, random)
        if self.fraction >= 1:
            return plan
        count = max(1, round(self.fraction * plan.batch))
        return plan.only(torch.from_numpy(np.sort(random.permutation(plan.batch)[:count])))

    def tokens(
        self, model: PairModel, batch: dict[str, Any], patches: Tensor | None, plan: MixPlan
    ) -> Tensor:
        """Image tokens (M, S, d) of the mixed images.

        Args:
            model: that they go through.
            batch: with `images`.
            patches: (B, N, d) embeddings of the unmixed images, if they are at hand.
            plan: of this batch.
        """
        vision = model.vision
        if self.space == "pixels":
            mixed = vision.patches(self.mixer.pixels(batch["images"], plan))
        else:
            mixed = self.mixer.tokens(vision.patches(batch["images"]) if patches is None else patches, plan)
        return vision.finish(vision.blocks(vision.from_patches(mixed)))

    def loss(
        self,
        model: PairModel,
        batch: dict[str, Any],
        found: PairStep,
        plan: MixPlan,
        *,
        probs: Tensor | None = None,
        alpha: float = 0.0,
        queue: FeatureQueue | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The mixed images' mean loss in this process; all processes call this together.

        Args:
            model: with its gradient.
            batch: `images`, `input_ids`, `attention_mask`, `image_ids`, `caption_ids`.
            found: of the main pass; its patches, features and ranks are used again.
            plan: of this batch.
            probs: (B, C) for labels that are not hard.
            alpha: share of them in blend.
            queue: earlier pairs.

        Returns:
            The loss and, without gradient, what `mixed_itc` says about it, with `lam`, the mean share of an
            image itself.
        """
        ranks = found.ranks
        mixed = model.image_features(self.tokens(model, batch, found.seen.patches, plan))
        every = len(plan.rows) < plan.batch
        features = plan.fill(found.image_features, mixed) if every else mixed
        texts, every_text = found.text_features, found.every_text
        if plan.kind == "joined":
            ids, mask = join_texts(
                batch["input_ids"], batch["attention_mask"], plan, max_length=model.config.positions
            )
            texts = model.text_features(model.encode_text(ids, mask))
            every_text = gather_rows(texts.float(), ranks)
        captions = gather_rows(batch["caption_ids"], ranks)
        same = (captions[:, None] == captions) | (found.every_id[:, None] == found.every_id)
        targets = mix_targets(
            plan, self.labels, probs, same, ranks, alpha=alpha, smoothing=self.smoothing, every=every
        )
        earlier = None
        if self.queue and queue is not None and len(queue):
            earlier_images, earlier_texts, _ = queue.earlier()
            earlier = (earlier_texts, earlier_images)
        with torch.autocast(features.device.type, enabled=False):
            loss, said = mixed_itc(
                features.float(), every_text.float(), targets, found.tau,
                images_all=gather_rows(features.float(), ranks), texts=texts.float(),
                text_targets=text_targets(targets, ranks), queues=earlier,
                tau_range=model.config.tau_range,
            )  # fmt: skip
        return loss, {"floor": said["floor"], "lam": plan.lam.mean()}

    def probabilities(self, found: PairStep) -> Tensor | None:
        """(B, C) what the unmixed images make of all texts, as `labels` wants it; no gradient."""
        if self.labels == "hard":
            return None
        similarity = found.similarity if self.labels == "soft" else found.teacher_similarity
        return None if similarity is None else similarity.detach().softmax(1)


def _look_before_blocks(model: PairModel, batch: dict[str, Any]) -> Seen:
    """As `look`, with the tokens that go into the first block."""
    patches = model.vision.patches(batch["images"])
    tokens = model.vision.from_patches(patches)
    return Seen(model.vision.finish(model.vision.blocks(tokens)), patches, tokens)
