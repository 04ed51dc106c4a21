"""The losses of ALBEF and mPLUG on a batch of pairs: contrast, matching, masked words, the rest of a text.

ALBEF (Li et al. 2021, section 3.2 and 3.3), mPLUG (Li et al. 2022, section 3.4), released code
`model_pretrain.py`:

    ITC   1/2 [CE(v T/tau, Q) + CE(t V/tau, Q')], T and V the momentum model's features of the batch and
          of earlier batches; Q = alpha softmax(momentum similarities) + (1 - alpha) what is right
    ITM   does a pair belong together: B pairs, and for each image and each text a hard negative
    MLM   masked words, given the image: (1 - alpha) CE + alpha CE with the momentum model's words
    prefix  the rest of a text, given image and beginning

alpha rises from 0 to .4 over the first epoch. What differs from the released code: on several processes keys
are those of all of them, so that any number of processes has the loss of one with the whole batch (ALBEF's
are the own process's and the queue's); negatives of ITM are from the own process's rows, and never of the
same image; the distillation of words is over the vocabulary, not over the text; the momentum model has no
dropout; what the momentum model makes of a text's end is asked for only if it is used.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from nonet.errors import UserError
from nonet.kernels.global_contrastive import Teacher as Taught
from nonet.kernels.global_contrastive import global_contrastive
from nonet.kernels.linear_cross_entropy import linear_cross_entropy
from nonet.training.gathering import Ranks, find_ranks, gather_rows
from nonet.vision_language.bert_layers import WordHead
from nonet.vision_language.feature_queue import FeatureQueue
from nonet.vision_language.momentum import Twin
from nonet.vision_language.objectives.contrastive import contrastive_logits
from nonet.vision_language.objectives.masking import MaskedTokens
from nonet.vision_language.objectives.matching import hard_negatives, image_text_matching, matching_pairs
from nonet.vision_language.objectives.objective import IGNORE
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.pair_passes import Fuse, See, Seen, SeePairs, Teacher, look

# Shapes: B pairs of this process, C of all, M in the queue, N patches, S = 1 + N tokens of an image, L of a
# text, d width, e size of the shared space, V words, n words with a label.

LOSSES = ("itc", "itm", "mlm", "prefix")
DISTILLED = ("itc", "mlm", "prefix")

Terms = dict[str, tuple[Tensor, Tensor]]
"""a loss by name: the weighted sum over this process's examples, and how many they are (`global_mean`)"""


@dataclass
class PairStep:
    """The losses of a batch, and what further losses may use. Gradients pass, but for `teacher_*`.

    Image features, text features and numbers of images of all processes are at `every_*`, this process's in
    the rows `ranks.own`.
    """

    terms: Terms
    """weighted losses"""
    logged: dict[str, tuple[Tensor, Tensor]]
    """sums and counts of what else is worth a look, by name; no gradient"""
    seen: Seen
    """image tokens"""
    text_tokens: Tensor
    """(B, L, d)"""
    image_features: Tensor
    """(B, e) of length 1"""
    text_features: Tensor
    """(B, e) of length 1"""
    ranks: Ranks
    """how rows lie on processes"""
    every_image: Tensor
    """(C, e) image features of all processes"""
    every_text: Tensor
    """(C, e) text features of all processes"""
    every_id: Tensor
    """(C,) int64 numbers of images"""
    tau: Tensor
    """(), the temperature"""
    teacher_image: Tensor | None = None
    """(C, e) the twin's image features, which then go into the queue"""
    teacher_text: Tensor | None = None
    """(C, e) the twin's text features"""
    teacher: Teacher | None = field(default=None, repr=False)

    @property
    def similarity(self) -> Tensor:
        """(B, C) float32: this process's images with all texts, divided by the temperature, no queue."""
        with torch.autocast(self.tau.device.type, enabled=False):
            return contrastive_logits(self.image_features, self.every_text, self.tau)

    @property
    def teacher_similarity(self) -> Tensor | None:
        """(B, C) float32: the same by the twin; None without one."""
        if self.teacher_image is None or self.teacher_text is None:
            return None
        with torch.autocast(self.tau.device.type, enabled=False), torch.no_grad():
            return contrastive_logits(self.teacher_image[self.ranks.own], self.teacher_text, self.tau)


class PairLosses:
    """The losses of a batch of pairs.

    Args:
        mask: masks words: (ids, mask, generator) to `MaskedTokens`, such as `WordMask`; needed for MLM alone.
        weights: of `itc`, `itm`, `mlm`, `prefix`; those that are missing or 0 are left out.
        distil: which of `itc`, `mlm`, `prefix` learn from the twin, if there is one. The released code
            has the first two (prefix is computed there, with weight 0).
        by_image: count all texts of an image as right for it, in the queue too, in equal shares, as in
            retrieval fine-tuning; otherwise the own text alone.
        online_keys: contrast with the model's own features, with gradient, and not with the twin's, as the
            released TiMix does; so it is always without a twin.
        see: what the vision tower makes of a batch; None: `look`.
        see_pairs: what it makes of an image for the text of a pair in ITM, right or wrong; None: what it made
            of the image for its own text.

    Raises:
        UserError: an unknown name or a weight that is negative.
    """

    def __init__(
        self,
        mask: Callable[[Tensor, Tensor, Generator], MaskedTokens] | None = None,
        *,
        weights: dict[str, float] | None = None,
        distil: Collection[str] = ("itc", "mlm"),
        by_image: bool = False,
        online_keys: bool = False,
        see: See | None = None,
        see_pairs: SeePairs | None = None,
    ) -> None:
        weights = dict.fromkeys(LOSSES, 1.0) if weights is None else dict(weights)
        for name, names in ((weights, LOSSES), (distil, DISTILLED)):
            wrong = [each for each in name if each not in names]
            if wrong:
                raise UserError(f"there is no loss {wrong[0]} here: say {', '.join(names)}")
        if any(weight < 0 for weight in weights.values()):
            raise UserError("weights of losses are 0 or more")
        self.weights = {name: weights[name] for name in LOSSES if weights.get(name)}
        if mask is None and "mlm" in self.weights:
            raise UserError("masked words (mlm) need something that masks them")
        self.mask, self.distil = mask, frozenset(distil)
        self.by_image, self.online_keys = by_image, online_keys
        self.see: See = look if see is None else see
        self.see_pairs = see_pairs

    def idle(self, model: PairModel) -> list[str]:
        """Attributes of the model that no loss here reaches: they are not trained."""
        on = self.weights
        fused = {"itm", "mlm", "prefix"} & on.keys()
        needed = {
            "vision_proj": "itc" in on,
            "text_proj": "itc" in on,
            "tau": "itc" in on,
            "fusion": bool(fused),
            "itm_head": "itm" in on,
            "mlm_head": "mlm" in on,
            "decoder": "prefix" in on,
        }
        return [name for name, used in needed.items() if not used and getattr(model, name) is not None]

    def skipped_by_twin(self, model: PairModel) -> list[str]:
        """Attributes that a twin of this model needs not have: `Twin(model, skip=...)`."""
        words = {name for name in ("mlm", "prefix") if name in self.weights and name in self.distil}
        needed = {
            "fusion": bool(words),
            "mlm_head": "mlm" in words,
            "decoder": "prefix" in words,
            "itm_head": False,
        }
        return [name for name, used in needed.items() if not used and getattr(model, name) is not None]

    def __call__(
        self,
        model: PairModel,
        batch: dict[str, Any],
        *,
        generator: Generator,
        twin: Twin | None = None,
        queue: FeatureQueue | None = None,
        alpha: float = 0.0,
    ) -> PairStep:
        """The losses of a batch; all processes call this together.

        Args:
            model: what is trained.
            batch: `images` (B, 3, H, W) float, normalised; `input_ids`, `attention_mask` (B, L) int64;
                `image_ids` (B,) int64, equal numbers are one image; for prefix, besides, `prefix_ids`,
                `prefix_mask` and `target_ids`, `target_mask`.
            generator: of masks and negatives, on the device of the images; another one on each process.
            twin: the momentum model, updated already.
            queue: earlier pairs. It is read here; `PairStep` has what belongs in it.
            alpha: share of what the twin says in what is learned.

        Raises:
            UserError: prefixes are wanted of a model without decoder.
        """
        ids, mask, numbers = batch["input_ids"], batch["attention_mask"], batch["image_ids"]
        seen = self.see(model, batch)
        text = model.encode_text(ids, mask)
        image_features, text_features = model.image_features(seen.tokens), model.text_features(text)
        ranks = find_ranks(len(ids), ids.device)
        found = PairStep(
            {}, {}, seen, text, image_features, text_features, ranks,
            gather_rows(image_features.float(), ranks), gather_rows(text_features.float(), ranks),
            gather_rows(numbers, ranks), model.tau,
        )  # fmt: skip
        if twin is not None:
            found.teacher = Teacher.of(twin.model, batch, self.see)
            found.teacher_image = gather_rows(found.teacher.image_features, ranks)
            found.teacher_text = gather_rows(found.teacher.text_features, ranks)
        if "itc" in self.weights:
            self._itc(found, numbers, queue, alpha)
        fused = Fuse(model, seen, text, mask)
        if "itm" in self.weights:
            self._itm(model, found, fused, batch, generator)
        if "mlm" in self.weights:
            self._mlm(model, found, fused, batch, generator, alpha)
        if "prefix" in self.weights:
            self._prefix(model, found, fused, batch, alpha)
        return found

    def _add(self, found: PairStep, name: str, mean: Tensor, count: Tensor | int) -> None:
        number = torch.as_tensor(count, device=mean.device)
        found.terms[name] = (self.weights[name] * mean * number, number)

    def _itc(self, found: PairStep, numbers: Tensor, queue: FeatureQueue | None, alpha: float) -> None:
        online = self.online_keys or found.teacher is None
        images = found.every_image if online or found.teacher_image is None else found.teacher_image
        texts = found.every_text if online or found.teacher_text is None else found.teacher_text
        earlier_images, earlier_texts, earlier_ids = (None, None, None) if queue is None else queue.earlier()
        labels, more = torch.arange(len(numbers), device=numbers.device) + found.ranks.first, {}
        if self.by_image:
            labels, more = numbers, {"key_labels": found.every_id, "queue_labels": earlier_ids}
        by_images, by_texts, share = None, None, 0.0  # the twin's view
        if found.teacher_image is not None and found.teacher_text is not None and "itc" in self.distil:
            own, share = found.ranks.own, alpha
            by_images = Taught(found.teacher_image[own], found.teacher_text)
            by_texts = Taught(found.teacher_text[own], found.teacher_image)
        image = global_contrastive(
            found.image_features, texts, labels, found.tau, queue=earlier_texts, teacher=by_images,
            alpha=share, **more,
        )  # fmt: skip
        text = global_contrastive(
            found.text_features, images, labels, found.tau, queue=earlier_images, teacher=by_texts,
            alpha=share, **more,
        )  # fmt: skip
        count = torch.tensor(len(numbers), device=numbers.device)
        found.terms["itc"] = (self.weights["itc"] * (image.loss + text.loss) / 2, count)
        found.logged["itc_accuracy"] = (image.hits.float().sum(), count)

    def _itm(
        self, model: PairModel, found: PairStep, fused: Fuse, batch: dict[str, Any], generator: Generator
    ) -> None:
        numbers = batch["image_ids"]
        with torch.no_grad(), torch.autocast(numbers.device.type, enabled=False):
            similarity = contrastive_logits(found.image_features, found.text_features, found.tau)
        pairs = matching_pairs(
            hard_negatives(similarity.mT, generator, labels=numbers),
            hard_negatives(similarity, generator, labels=numbers),
        )
        if self.see_pairs is None:
            tokens = fused(images=pairs.images, texts=pairs.texts)[1]
        else:
            text, mask = found.text_tokens[pairs.texts], batch["attention_mask"][pairs.texts]
            seen = self.see_pairs(model, found.seen, pairs.images, text)
            tokens = model.fusion(seen, None, text, mask)[1]
        logits = model.itm_logits(tokens)
        loss, aux = image_text_matching(logits, pairs.labels)
        self._add(found, "itm", loss, aux["count"])
        found.logged["itm_accuracy"] = (aux["accuracy"] * aux["count"], aux["count"])

    def _mlm(
        self, model: PairModel, found: PairStep, fused: Fuse, batch: dict[str, Any], generator: Generator,
        alpha: float,
    ) -> None:  # fmt: skip
        assert self.mask is not None
        mask = batch["attention_mask"]
        hidden = self.mask(batch["input_ids"], mask, generator)
        places = hidden.labels != IGNORE
        tokens = fused(text=model.encode_text(hidden.ids, mask), text_mask=mask)[1]
        taught = None
        if found.teacher is not None and "mlm" in self.distil and alpha > 0:
            taught = found.teacher.masked_words(hidden.ids, mask, places)
        self._words(found, "mlm", model.mlm_head, tokens[places], hidden.labels[places], taught, alpha)

    def _prefix(
        self, model: PairModel, found: PairStep, fused: Fuse, batch: dict[str, Any], alpha: float
    ) -> None:
        if model.decoder is None:
            raise UserError("the model has no decoder, so it cannot learn to write (prefix): leave it out")
        ids, mask = batch["target_ids"], batch["target_mask"]
        source, source_mask = fused.source(model, batch)
        tokens = model.decoder.hidden(ids[:, :-1], mask[:, :-1], source, source_mask)
        places = mask[:, 1:].bool()
        taught = None
        if found.teacher is not None and "prefix" in self.distil and alpha > 0:
            taught = found.teacher.written_words(batch, places)
        self._words(found, "prefix", model.decoder.head, tokens[places], ids[:, 1:][places], taught, alpha)

    def _words(
        self, found: PairStep, name: str, head: WordHead, tokens: Tensor, labels: Tensor,
        taught: Tensor | None, alpha: float,
    ) -> None:  # fmt: skip
        """Words at n places: tokens (n, d), labels (n,), and the twin's logits (n, V)."""
        count = torch.tensor(len(labels), device=labels.device)
        if taught is None:  # without logits
            hidden = head.hidden(tokens)
            total = linear_cross_entropy(hidden, head.words, labels, bias=head.bias, reduction="sum")
        else:
            total = word_losses(head(tokens), labels, taught, alpha).sum()
        found.terms[name] = (self.weights[name] * total, count)


def word_losses(logits: Tensor, labels: Tensor, taught: Tensor, alpha: float) -> Tensor:
    """(1 - alpha) -log P(label) - alpha sum_w P'(w) log P(w), P' the twin's: over the words, at each place.

    Args:
        logits: (n, V) float.
        labels: (n,) int64.
        taught: (n, V) float; no gradient flows into it.
        alpha: share of the twin.

    Returns:
        (n,) float32. Logits (0, 0, ln 2), label 2, equal logits of the twin and alpha .4 give 0.877986.
    """
    logs = logits.float().log_softmax(-1)
    soft = -(taught.detach().float().softmax(-1) * logs).sum(-1)
    return (1 - alpha) * F.nll_loss(logs, labels, reduction="none") + alpha * soft
