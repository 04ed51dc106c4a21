"""A ConvNeXt that does not see masked patches (Yang et al. 2024, UniPAD; Tian et al. 2023, SparK).

UniPAD runs the encoder sparsely: convolutions and norms touch positions of visible patches only. All of a
ConvNeXt but its depth-wise convolutions works on one position alone, or on 2 x 2 or 4 x 4 positions of one
patch. So the dense network does the same where every block's output is set to 0 at masked positions: the next
convolution then reads zeros there, as the sparse one reads nothing. A test compares with the sparse form.

The mask is an argument, not a state: two threads, or two batches in turn, cannot mix theirs.
"""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from nonet.errors import UserError, needs

# Shapes: N images, H x W pixels, h x w positions of a stage, P x Q patches.

PATCH = 32
"""pixels along a patch: one position of the last stage"""
STRIDES = (4, 8, 16, 32)
"""pixels along a position of each of the four stages"""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""of ImageNet's photographs in 0..1"""


class MaskedConvNeXt(nn.Module):
    """The four stages of a ConvNeXt of timm, with masks.

    Args:
        name: timm's, such as `convnext_small`.
        weights: `timm` downloads those of that name, a path to a .safetensors file reads them; None: random.
        frozen_stages: so many stages are not trained, the stem with the first.

    Raises:
        UserError: timm is missing, has no such model, the model cannot be masked, or the weights do not fit
            or cannot be downloaded.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, *, weights: str | None = None, frozen_stages: int = 1) -> None:
        super().__init__()
        model = _create(name, weights)
        if not hasattr(model, "stem") or len(getattr(model, "stages", ())) != len(STRIDES):
            raise UserError(f"{name} is no ConvNeXt with four stages; take convnext_tiny, for example")
        stem = model.stem[0]
        if tuple(stem.kernel_size) != (4, 4) or tuple(stem.stride) != (4, 4):
            raise UserError(
                f"the patches of {name} overlap, so that they cannot be masked; take convnext_tiny"
            )
        if any(type(part).__name__.startswith("GlobalResponseNorm") for part in model.modules()):
            raise UserError(f"{name} normalises over the whole image; take a ConvNeXt of the first version")
        self.stem, self.stages = model.stem, model.stages
        self.widths = tuple(int(info["num_chs"]) for info in model.feature_info)
        self.frozen_stages = frozen_stages
        for part in self._frozen():
            part.requires_grad_(False)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "MaskedConvNeXt":
        """As ever, but frozen stages stay as in evaluation: none of their paths is dropped."""
        super().train(mode)
        for part in self._frozen():
            part.eval()
        return self

    def forward(self, images_N3HW: Tensor, visible_NPQ: Tensor | None = None) -> list[Tensor]:
        """The maps of the four stages.

        Args:
            images_N3HW: (N, 3, H, W) uint8, red, green, blue; H and W are multiples of 32.
            visible_NPQ: (N, H / 32, W / 32) bool, False for masked patches; None: all are visible.

        Returns:
            Four (N, C, H / s, W / s) with strides s of 4, 8, 16 and 32; 0 at masked positions.

        Raises:
            ValueError: the image's or the mask's size does not fit.
        """
        N, _, H, W = images_N3HW.shape
        if H % PATCH or W % PATCH:
            raise ValueError(f"images of {W} x {H} are not multiples of {PATCH}")
        if visible_NPQ is not None and visible_NPQ.shape != (N, H // PATCH, W // PATCH):
            raise ValueError(f"a mask of {tuple(visible_NPQ.shape)} does not fit {N} images of {W} x {H}")
        x = (images_N3HW.to(self.mean.dtype) / 255 - self.mean) / self.std
        x = self.stem(_hide(x, visible_NPQ))
        maps = []
        for stage in self.stages:
            x = _hide(stage.downsample(_hide(x, visible_NPQ)), visible_NPQ)
            for block in stage.blocks:
                x = _hide(block(x), visible_NPQ)
            maps.append(x)
        return maps

    def _frozen(self) -> list[nn.Module]:
        return [self.stem, *self.stages[: self.frozen_stages]] if self.frozen_stages else []


def _hide(x: Tensor, visible_NPQ: Tensor | None) -> Tensor:
    """Zeros at the positions of masked patches. `where`, as 0 times what is not finite is not 0."""
    if visible_NPQ is None:
        return x
    times = x.shape[-1] // visible_NPQ.shape[-1]
    mask = visible_NPQ.repeat_interleave(times, 1).repeat_interleave(times, 2)[:, None]
    return torch.where(mask, x, torch.zeros((), dtype=x.dtype, device=x.device))


def _create(name: str, weights: str | None) -> nn.Module:
    timm = needs("timm", to="encode images", install="ponderv2[camera]")
    if not timm.is_model(name):
        raise UserError(f"timm {timm.__version__} has no model {name}; convnext_small is one it has")
    create: Callable[..., nn.Module] = timm.create_model
    if weights is None:
        return create(name, pretrained=False, num_classes=0)
    if weights == "timm":
        return _downloaded(create, name)
    return _with_file(create(name, pretrained=False, num_classes=0), Path(weights), name)


def _downloaded(create: Callable[..., nn.Module], name: str) -> nn.Module:
    hub = logging.getLogger("huggingface_hub")  # it would tell of each of its attempts, in two lines
    level = hub.level
    print(f"weights of {name}: those of timm, which are downloaded once", file=sys.stderr)
    try:
        hub.setLevel(logging.ERROR)
        return create(name, pretrained=True, num_classes=0)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split()).split(". ")[0][:200]  # the advice after it is not ours
        raise UserError(
            f"the weights of {name} cannot be downloaded: give --outdoor.image-weights None to begin with "
            f"random ones, or a .safetensors file of them ({reason})"
        ) from error
    finally:
        hub.setLevel(level)


def _with_file(model: nn.Module, path: Path, name: str) -> nn.Module:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise UserError(f"image_weights {path}: no such file; say timm to download those of {name}")
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path}: not safetensors ({error})") from error
    state = {key: value for key, value in state.items() if not key.startswith("head.fc")}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise UserError(f"{path} does not fit {name}: {' '.join(lines[1:3]).strip()}") from error
    return model
