"""Mixed images in another's training loop: a function for any loop, a loss for that of open_clip (ours).

`mixed_term` is all that a loop needs which has images, text features and scores of patches. `MixedClipLoss`
goes where open_clip's `ClipLoss` or `SigLipLoss` was and leaves the rest of the loop as it is: hooks see
images, texts and patch tokens as they pass, and the loss of mixed images is one more entry of the dictionary
that the loop adds up. Scores are cosines of projected patch tokens with the own text, as such models have
nothing that was trained to say which patches matter.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from nonet.data.batching import generator
from nonet.errors import UserError
from nonet.training.gathering import Ranks, gather_rows
from timix.mixed_loss import mixed_itc, mixed_sigmoid
from timix.mixed_targets import Mode, World, mix_targets, text_targets
from timix.text_aware_mix import MixPlan, TextAwareMix

# Shapes: B pairs of a rank, C of all ranks, e size of the shared space, L tokens of a text.

Kind = Literal["softmax", "sigmoid"]

ANY_TAU = (1e-6, 1e6)  # the host bounds its temperature itself


def mixed_term(
    encode: Callable[[Tensor], Tensor],
    images: Tensor,
    text_features: Tensor,
    plan: MixPlan,
    mix: TextAwareMix,
    *,
    scale: Tensor | float,
    bias: Tensor | float | None = None,
    kind: Kind = "softmax",
    labels: Mode = "hard",
    probs: Tensor | None = None,
    same: Tensor | None = None,
    smoothing: float = 0.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch's mixed images; with torch.distributed, of this rank's against all ranks' texts.

    Args:
        encode: gives (B, e) features of images (B, 3, H, W), of any length.
        images: (B, 3, H, W) float, normalised: those that the plan was made for.
        text_features: (B, e) float, of length 1, of the unmixed images' texts; reused, not computed again.
        plan: from `mix.plan(scores, generator)`, with the same generator on every rank.
        mix: what made it.
        scale: by which cosines are multiplied: 1 / temperature.
        bias: added to them; for kind sigmoid.
        kind: softmax (CLIP) or sigmoid (SigLIP).
        labels: as in `mix_targets`.
        probs: (B, C) for labels that are not hard.
        same: (C,) int64 or (C, C) bool, as in `mix_targets`.
        smoothing: of labels.

    Returns:
        The loss and its `floor`, as in `mixed_itc` and `mixed_sigmoid`.

    Raises:
        UserError: texts are joined (MixGen), which needs text features of their own, or shapes do not fit.
    """
    if plan.kind == "joined":
        raise UserError("joined texts need features of their own: take timix.mixgen and mixed_itc")
    ranks = _ranks(len(images))
    world = World(ranks.rank, len(ranks.sizes))
    mixed = normalize(encode(mix.pixels(images, plan)), dim=-1)
    texts = _gather(text_features)
    targets = mix_targets(plan, labels, probs, same, world, smoothing=smoothing, shares=kind == "softmax")
    if kind == "sigmoid":
        return mixed_sigmoid(mixed, texts, targets, scale, 0.0 if bias is None else bias)
    return mixed_itc(
        mixed,
        texts,
        targets,
        1 / scale,
        images_all=_gather(mixed),
        texts=text_features,
        text_targets=text_targets(targets, world),
        tau_range=ANY_TAU,
    )


def same_texts(input_ids: Tensor) -> Tensor:
    """Equal numbers for equal texts: (B,) int64 of token numbers (B, L), by a hash of 64 bits.

    Of all ranks under torch.distributed: (C,).
    """
    weights = torch.arange(1, input_ids.shape[1] + 1, device=input_ids.device) * 0x1E3779B97F4A7C15
    mixed = (input_ids + 1) * 0x2545F4914F6CDD1D
    mixed = (mixed ^ (mixed >> 29)) * (weights | 1)  # overflow wraps
    return _gather((mixed ^ (mixed >> 32)).sum(1))


class MixedClipLoss(nn.Module):
    """open_clip's loss, and that of mixed images beside it. It goes where the loop has its loss.

    Args:
        loss: open_clip's ClipLoss or SigLipLoss, built by the loop; it stays as it is.
        model: open_clip's CLIP, with or without DistributedDataParallel around it.
        mix: how to mix; its grid is that of the model.
        weight: of the loss of mixed images.
        labels: hard or soft (of the model's own probabilities), as in `mix_targets`.
        seed: of what is drawn.
        first_step: how many steps the run has behind it, where it is resumed.

    Raises:
        UserError: the vision tower is not open_clip's VisionTransformer and the region is not random, or its
            grid is another one.

    Example:
        >>> loss = MixedClipLoss(create_loss(args), model, TextAwareMix(14))
    """

    def __init__(
        self,
        loss: nn.Module,
        model: nn.Module,
        mix: TextAwareMix,
        *,
        weight: float = 1.0,
        labels: Mode = "hard",
        seed: int = 0,
        first_step: int = 0,
    ) -> None:
        super().__init__()
        inner = getattr(model, "module", model)
        visual = inner.visual
        self.loss, self.mix, self.weight, self.labels = loss, mix, weight, labels
        self.kind: Kind = "sigmoid" if type(loss).__name__ == "SigLipLoss" else "softmax"
        self.seed, self.step = seed, first_step
        self._seen: dict[str, Tensor] = {}
        self._visual = [visual]  # in a list, so that its parameters are not the loss's too
        self._guided = mix.region in ("maxmin", "aligned")
        if self._guided:
            if not all(hasattr(visual, part) for part in ("transformer", "ln_post", "proj", "grid_size")):
                raise UserError(
                    f"{type(visual).__name__} gives no patch tokens of the shared space: take region random"
                )
            if tuple(visual.grid_size) != mix.grid:
                raise UserError(f"the model has {visual.grid_size} patches, and the mixing {mix.grid}")
            visual.transformer.register_forward_hook(self._see_tokens)
        inner.register_forward_pre_hook(self._see_inputs, with_kwargs=True)

    def forward(
        self,
        image_features: Tensor,
        text_features: Tensor,
        logit_scale: Tensor,
        logit_bias: Tensor | None = None,
        output_dict: bool = False,
    ) -> Any:
        """The host's loss, and `mixed_loss` beside it: a dictionary, or their sum.

        Args:
            image_features: (B, e) of length 1.
            text_features: (B, e) of length 1.
            logit_scale: by which cosines are multiplied.
            logit_bias: added to them, if the model has one.
            output_dict: return a dictionary.
        """
        extra = {} if logit_bias is None else {"logit_bias": logit_bias}
        losses = self.loss(image_features, text_features, logit_scale, output_dict=True, **extra)
        if torch.is_grad_enabled():
            losses = losses | {
                "mixed_loss": self._mixed(image_features, text_features, logit_scale, logit_bias)
            }
        return losses if output_dict else sum(losses.values())

    def _mixed(self, image: Tensor, text: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        seen = self._seen
        if len(seen.get("images", ())) != len(image):
            raise UserError(
                f"{len(image)} features of {len(seen.get('images', ()))} images: mixing takes a whole "
                "batch at once, so set accum_freq to 1"
            )
        visual = self._visual[0]
        plan = self.mix.plan(self._scores(text), generator(self.seed, "mix", self.step))
        self.step += 1
        probs = None
        if self.labels != "hard":
            probs = (scale * image.detach() @ _gather(text.detach()).mT).softmax(1)
        term, _ = mixed_term(
            lambda images: _first(visual(images)),
            seen["images"],
            text,
            plan,
            self.mix,
            scale=scale,
            bias=bias,
            kind=self.kind,
            labels=self.labels,
            probs=probs,
            same=same_texts(seen["texts"]),
        )
        self._seen = {}
        return self.weight * term

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _scores(self, text: Tensor) -> Tensor:
        if not self._guided:
            return text.new_zeros(len(text), *self.mix.grid)
        visual = self._visual[0]
        tokens = normalize(visual.ln_post(self._seen["tokens"][:, 1:]) @ visual.proj, dim=-1)
        return torch.einsum("bnd,bd->bn", tokens, text.to(tokens)).float().unflatten(1, self.mix.grid)

    def _see_inputs(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs = dict(zip(("image", "text"), args, strict=False)) | kwargs
        images, texts = inputs.get("image"), inputs.get("text")
        if images is None or texts is None or not torch.is_grad_enabled():
            return
        if texts.is_floating_point():
            raise UserError(
                "texts are floats, as labels of images that are mixed already: mixing twice is not supported"
            )
        self._seen = {"images": images, "texts": texts}

    def _see_tokens(self, _: nn.Module, args: tuple[Any, ...], tokens: Tensor) -> None:
        if "images" in self._seen and "tokens" not in self._seen:
            if tokens.shape[1] != 1 + math.prod(self.mix.grid):
                raise UserError("patches are dropped in the vision tower: mixing needs all of them")
            self._seen["tokens"] = tokens.detach()


def _first(features: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The pooled features of a tower that may give tokens beside them."""
    return features[0] if isinstance(features, tuple) else features


def _ranks(count: int) -> Ranks:
    """This process among all, which have as many rows each."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return Ranks(torch.distributed.get_rank(), (count,) * torch.distributed.get_world_size())
    return Ranks(0, (count,))


def _gather(values: Tensor) -> Tensor:
    """Values of all ranks, rank 0's first; a gradient comes back from all of them."""
    return gather_rows(values, _ranks(len(values)))
