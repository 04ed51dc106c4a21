"""Each format of an exported image-text model: the files are written, read again, and compared (ours).

Each function takes a model in evaluation mode and a path, and gives the greatest difference between what was
written and the model. Source: the layouts of ONNX, transformers and timm.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nonet.errors import UserError
from nonet.training.hub import load_pretrained
from nonet.training.onnx_files import FREE, run_onnx, write_onnx
from nonet.vision_language.bert_weights import bert_name
from nonet.vision_language.clip_names import clip_names, vit_names
from nonet.vision_language.pair_config import PairConfig
from nonet.vision_language.pair_folders import save_tensors, tensors_of
from nonet.vision_language.pair_model import PairModel

FEATURES = "features"  # name of what both files of ONNX give


class _Image(nn.Module):  # type: ignore[misc]
    def __init__(self, model: PairModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model.image_features(self.model.encode_image(pixel_values))


class _Text(nn.Module):  # type: ignore[misc]
    def __init__(self, model: PairModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.model.text_features(self.model.encode_text(input_ids, attention_mask))


def onnx_image(model: PairModel, folder: Path) -> float:
    """image.onnx, for any number of images."""
    pixels = torch.randn(3, 3, *model.config.image_size, generator=torch.Generator().manual_seed(0))
    part = _Image(model).eval()
    write_onnx(
        part, (pixels[:2],), folder / "image.onnx", inputs=["pixel_values"], outputs=[FEATURES],
        shapes=({0: FREE},),
    )  # fmt: skip
    return _difference(part(pixels), run_onnx(folder / "image.onnx", {"pixel_values": pixels})[FEATURES])


def onnx_text(model: PairModel, folder: Path) -> float:
    """text.onnx, for any number and length of texts."""
    ids, mask = sample_texts(model.config)
    part = _Text(model).eval()
    write_onnx(
        part, (ids[:2, :4], mask[:2, :4]), folder / "text.onnx", inputs=["input_ids", "attention_mask"],
        outputs=[FEATURES], shapes=({0: FREE, 1: FREE},) * 2,
    )  # fmt: skip
    found = run_onnx(folder / "text.onnx", {"input_ids": ids, "attention_mask": mask})
    return _difference(part(ids, mask), found[FEATURES])


def sample_texts(config: PairConfig) -> tuple[Tensor, Tensor]:
    """Three texts of random words, the last one padded."""
    length = min(config.max_length, 7)
    ids = torch.randint(0, config.vocabulary, (3, length), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(3, length, dtype=torch.int64)
    mask[2, 2:] = 0
    return ids, mask


def transformers_image(model: PairModel, folder: Path) -> float:
    """The vision transformer as a folder of transformers.

    Raises:
        UserError: CLIP's kind with images that are not square.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModel, ViTConfig, ViTModel

    tower = model.vision
    vit, first = tower.vit, tower.vit.blocks[0]
    clip = isinstance(vit.norm_pre, nn.LayerNorm)
    sizes: dict[str, Any] = {
        "hidden_size": tower.width, "intermediate_size": first.mlp.fc1.out_features,
        "num_hidden_layers": tower.depth, "num_attention_heads": first.attn.num_heads,
        "image_size": list(tower.image_size), "patch_size": tower.patch,
        "layer_norm_eps": vit.norm.eps,
        "hidden_act": "quick_gelu" if type(first.mlp.act).__name__ == "QuickGELU" else "gelu",
    }  # fmt: skip
    if clip and tower.image_size[0] != tower.image_size[1]:
        raise UserError("CLIP in transformers takes square images only; export to timm or onnx")
    if clip:
        config = CLIPVisionConfig(**sizes | {"image_size": tower.image_size[0]})
        weights = {f"vision_model.{name}": value for name, value in clip_names(tensors_of(vit)).items()}
    else:
        config, weights = ViTConfig(**sizes), vit_names(tensors_of(vit))
    _write_folder(folder, config, "CLIPVisionModel" if clip else "ViTModel", weights)
    again = load_pretrained(CLIPVisionModel if clip else ViTModel, folder, **_no_pooler(clip)).eval()
    pixels = torch.randn(2, 3, *tower.image_size, generator=torch.Generator().manual_seed(0))
    found = again(pixel_values=pixels).last_hidden_state
    return _difference(vit.forward_features(pixels), again.post_layernorm(found) if clip else found)


def _write_folder(folder: Path, config: Any, kind: str, weights: dict[str, Tensor]) -> None:
    """A folder of transformers, with the names of files: those inside its models change with its versions."""
    config.architectures = [kind]
    config.save_pretrained(folder)
    save_tensors(folder / "model.safetensors", weights)


def _no_pooler(clip: bool) -> dict[str, Any]:
    return {} if clip else {"add_pooling_layer": False}


def timm_image(model: PairModel, folder: Path) -> float:
    """The vision transformer as a folder of timm."""
    import timm
    from timm.models import save_for_hf

    config, tower = model.config, model.vision
    args: dict[str, Any] = {"img_size": list(tower.image_size)}
    name = config.vit.split(".")[0]
    if not name:
        name = "vit_base_patch16_clip_quickgelu_224" if config.pre_norm else "vit_base_patch16_224"
        act = "quick_gelu" if config.quick_gelu else "gelu"
        args |= {"patch_size": config.patch, "embed_dim": config.vit_width, "depth": config.vit_depth,
                 "num_heads": config.vit_heads, "act_layer": act}  # fmt: skip
    theirs = timm.create_model(name, num_classes=0, **args)
    theirs.load_state_dict(tower.vit.state_dict())
    theirs.pretrained_cfg = {
        **theirs.pretrained_cfg, "input_size": (3, *tower.image_size), "mean": config.mean,
        "std": config.deviation, "interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": "squash",
    }  # fmt: skip
    save_for_hf(theirs, str(folder), model_args=args, safe_serialization=True)
    again = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    pixels = torch.randn(2, 3, *tower.image_size, generator=torch.Generator().manual_seed(0))
    return _difference(tower.vit.forward_features(pixels), again.forward_features(pixels))


def transformers_text(model: PairModel, folder: Path) -> float:
    """The text encoder as a folder of transformers."""
    from transformers import BertConfig, BertModel

    config = model.config
    sizes = BertConfig(
        vocab_size=config.vocabulary, hidden_size=config.text_width, num_hidden_layers=config.text_layers,
        num_attention_heads=config.text_heads, intermediate_size=config.text_hidden,
        max_position_embeddings=config.positions,
    )  # fmt: skip
    weights = {bert_name(name): value for name, value in tensors_of(model.text).items()}
    _write_folder(folder, sizes, "BertModel", weights)
    again = load_pretrained(BertModel, folder, add_pooling_layer=False).eval()
    ids, mask = sample_texts(config)
    found = again(input_ids=ids, attention_mask=mask).last_hidden_state
    return _difference(model.encode_text(ids, mask)[mask.bool()], found[mask.bool()])


def _difference(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max())
