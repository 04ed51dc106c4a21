"""The patch detector: how much each patch of an image has to do with a text.

The text-aware patch detector of COPA (Jiang et al. 2023) and predictor of TiMix (Jiang et al. 2024), as in
the latter's released code: patches after one of the first blocks, their mean, and the text's CLS go through a
small network, after DynamicViT's predictor (Rao et al. 2021). With h the patches and t the text,

    u = GELU(W LN(h)),  z = [u's first half; mean over patches of u's second half; t]
    logits = MLP(z) : 2d -> d/2 -> d/4 -> 2, column 1 says that the patch belongs to the text

The MLP's first layer is a sum of an image's and a text's part, so that each is computed once for an image and
once for a text, not once for a pair (ours).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PREDICTOR = "patch_detector"  # name of its weights in a model's folder

# Shapes: B images, T texts, E pairs of one image and one text, N patches, d width, h = d / 2.


class PatchDetector(nn.Module):  # type: ignore[misc]
    """Patches and texts to logits of (another patch, one of the text's); 1,256,642 parameters at width 768.

    Args:
        width: d, of the patches inside the vision transformer; divisible by 4.
        text_width: of the text's CLS; None: d.

    Raises:
        ValueError: a width that is not divisible by 4.
    """

    def __init__(self, width: int, *, text_width: int | None = None) -> None:
        super().__init__()
        if width < 4 or width % 4:
            raise ValueError(f"width is {width}; the detector halves it twice, so it is divisible by 4")
        self.width = width
        half, quarter = width // 2, width // 4
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.joint = nn.Linear(width + (width if text_width is None else text_width), half)
        self.rest = nn.Sequential(nn.GELU(), nn.Linear(half, quarter), nn.GELU(), nn.Linear(quarter, 2))

    def image_part(self, patches: Tensor) -> Tensor:
        """What depends on the image: patches (B, N, d), without CLS -> (B, N, h)."""
        local, whole = F.gelu(self.inner(self.norm(patches))).chunk(2, dim=-1)
        weight = self.joint.weight
        local_part = F.linear(local, weight[:, : local.shape[-1]])
        return local_part + F.linear(whole.mean(1), weight[:, local.shape[-1] : self.width])[:, None]

    def text_part(self, text: Tensor) -> Tensor:
        """What depends on the text: its CLS (T, text width) -> (T, h)."""
        return F.linear(text, self.joint.weight[:, self.width :], self.joint.bias)

    def join(self, image_part: Tensor, text_part: Tensor) -> Tensor:
        """Logits of pairs.

        Args:
            image_part: (..., N, h); with (B, 1, N, h), every image meets every text.
            text_part: (..., h), whose first sizes are those of `image_part` or broadcast to them.

        Returns:
            (..., N, 2).
        """
        return self.rest(image_part + text_part[..., None, :])

    def forward(self, patches: Tensor, text: Tensor, of_image: Tensor | None = None) -> Tensor:
        """Logits of pairs.

        Args:
            patches: (B, N, d), behind a block of the vision transformer, without CLS.
            text: (E, text width), CLS of the texts, before any projection.
            of_image: (E,) int64 in 0..B-1, the image of each text; None: text i belongs to image i.

        Returns:
            (E, N, 2).
        """
        image_part = self.image_part(patches)
        if of_image is not None:
            image_part = image_part[of_image]
        return self.join(image_part, self.text_part(text))

    @staticmethod
    def log_score(logits: Tensor) -> Tensor:
        """Logits (..., 2) -> log of the probability that the patch is one of the text's (...), float32."""
        return F.log_softmax(logits.float(), -1)[..., 1]

    @staticmethod
    def score(logits: Tensor) -> Tensor:
        """Logits (..., 2) -> that probability (...), in 0..1, float32."""
        return logits.float().softmax(-1)[..., 1]


def detector_from_released(weights: Mapping[str, Tensor]) -> PatchDetector:
    """A detector with the weights of a checkpoint of TiMix's released code.

    Args:
        weights: `in_conv.0`, `in_conv.1`, `out_conv.0`, `out_conv.2` and `softmax_output.0`, each
            `.weight` and `.bias`, as `foreign_weights` hands them on.

    Raises:
        ValueError: names are missing or unknown, or the sizes are not those of a detector.
    """
    names = {
        "in_conv.0": "norm", "in_conv.1": "inner", "out_conv.0": "joint", "out_conv.2": "rest.1",
        "softmax_output.0": "rest.3",
    }  # fmt: skip
    ours = {f"{new}.{part}": f"{old}.{part}" for old, new in names.items() for part in ("weight", "bias")}
    strange = sorted(set(ours.values()) ^ set(weights))
    if strange:
        raise ValueError(f"not the weights of a patch detector: {', '.join(strange)} missing or unknown")
    state = {name: weights[old] for name, old in ours.items()}
    width, both = state["norm.weight"].shape[0], state["joint.weight"].shape[1]
    with torch.device("meta"):
        detector = PatchDetector(width, text_width=both - width)
    try:
        detector.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ValueError(f"not the weights of a patch detector: {' '.join(str(error).split())}") from error
    return detector
