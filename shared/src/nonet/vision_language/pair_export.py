"""Image and text encoder of an image-text model for other programs, proved equal to the model (ours).

    onnx          image.onnx: pixel_values (images, 3, height, width) float32 -> features (images, e)
                  text.onnx: input_ids, attention_mask (texts, L) int64 -> features (texts, e)
    transformers  image/: CLIPVisionModel, or ViTModel without a first norm; text/: BertModel without pooler
    timm          image/: for timm.create_model("local-dir:FOLDER/image"); text/ as above

Pixels are normalised as preprocessor_config.json says. Beside the folders lies projections.safetensors: the
two linear layers to the shared space, and what stands before that of images where text is not as wide. ONNX's
features are of length 1: their product is a cosine, and divided by tau, which config.json has, a logit.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from nonet.errors import RunFailed, needs
from nonet.files import write_json
from nonet.training.hub import save_folder
from nonet.training.model_card import ModelCard
from nonet.vision_language.pair_config import PairConfig
from nonet.vision_language.pair_folders import load_pair_model, save_tensors, tensors_of
from nonet.vision_language.pair_formats import (
    onnx_image,
    onnx_text,
    timm_image,
    transformers_image,
    transformers_text,
)
from nonet.vision_language.pair_model import PairModel

Format = Literal["onnx", "transformers", "timm"]
TOLERANCE = 1e-3  # of float32 numbers around 1; other programs add in another order
PROJECTIONS = "projections.safetensors"


class Exported(NamedTuple):
    """What was written.

    Attributes:
        folder: where.
        difference: the greatest between an exported encoder's numbers and the model's.
        bytes: of the weights.
    """

    folder: Path
    difference: float
    bytes: int


def export_pair_model(
    name: str | os.PathLike[str], out: str | os.PathLike[str], to: Format, *, install: str,
    overwrite: bool = False, say: Callable[[str], None] = print,
) -> Exported:  # fmt: skip
    """Write both encoders, and compare them with the model.

    Args:
        name: folder of a model or run, or hub name.
        out: folder to write.
        to: format, see the top of this file.
        install: the requirement that brings what ONNX needs, for the error.
        overwrite: replace a folder that was written by us.
        say: takes the account of the model's weights if anything does not match.

    Raises:
        UserError: no such model, the folder may not be replaced, or a package is absent.
        RunFailed: the numbers differ.
    """
    loaded = load_pair_model(name, say=say)
    if to == "onnx":
        needs("onnxruntime", to="check an ONNX file", install=install)
        needs("onnxscript", to="export ONNX", install=install)
    writer = _Writer(loaded.model, loaded.tokenizer, to)
    folder = save_folder(
        writer, None, out, _card(loaded.model.config, Path(out).name, to), overwrite=overwrite
    )
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in (".onnx", ".safetensors"))
    return Exported(folder, writer.difference, size)


class _Writer:
    """What `save_folder` calls: writes and compares before anything has its last name."""

    def __init__(self, model: PairModel, tokenizer: Any, to: Format) -> None:
        self.model, self.tokenizer, self.to = model, tokenizer, to
        self.difference = 0.0

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        model, config = self.model, self.model.config
        write_json(folder / "config.json", _facts(model))
        if self.to == "onnx":
            self.difference = max(onnx_image(model, folder), onnx_text(model, folder))
            words = folder
        else:
            image = timm_image if self.to == "timm" else transformers_image
            self.difference = max(image(model, folder / "image"), transformers_text(model, folder / "text"))
            save_tensors(folder / PROJECTIONS, _projections(model))
            words = folder / "text"
        write_json(folder / "preprocessor_config.json", preprocessing(config))
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(words)
        if not self.difference <= TOLERANCE:
            raise RunFailed(
                f"the exported encoders differ from the model by {self.difference:.3g}, over {TOLERANCE:g}; "
                "nothing is written"
            )


def _projections(model: PairModel) -> dict[str, Tensor]:
    parts = {"vision_proj": model.vision_proj, "text_proj": model.text_proj, "adapt": model.vision.adapt}
    return {
        f"{part}.{name}": value for part, each in parts.items() for name, value in tensors_of(each).items()
    }


def _facts(model: PairModel) -> dict[str, Any]:
    config = model.config
    return {
        "tau": model.tau.item(), "embed": config.embed, "max_length": config.max_length,
        "image_size": list(config.image_size),
    }  # fmt: skip


def preprocessing(config: PairConfig) -> dict[str, Any]:
    """What preprocessor_config.json says of an image of a model: resized to its size, and normalised."""
    height, width = config.image_size
    return {
        "image_processor_type": "CLIPImageProcessor", "do_convert_rgb": True, "do_resize": True,
        "size": {"height": height, "width": width}, "resample": 3, "do_center_crop": False,
        "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": list(config.mean),
        "image_std": list(config.deviation),
    }  # fmt: skip


_LOAD = {
    "onnx": 'import onnxruntime\n\nsession = onnxruntime.InferenceSession("{name}/image.onnx")\n'
    'features = session.run(["features"], {{"pixel_values": pixels}})[0]',
    "transformers": "from transformers import AutoModel, BertModel\n\n"
    'image = AutoModel.from_pretrained("{name}/image")\n'
    'text = BertModel.from_pretrained("{name}/text", add_pooling_layer=False)',
    "timm": 'import timm\n\nimage = timm.create_model("local-dir:{name}/image", pretrained=True)',
}


def _card(config: PairConfig, name: str, to: Format) -> str:
    limits = [
        "Images are resized without keeping their shape, and normalised as preprocessor_config.json says.",
        "Texts are lower-cased and cleaned as captions were in training.",
    ]
    if to != "onnx":
        limits.append(
            f"Features need {PROJECTIONS}, applied to the first token, and are brought to length 1."
        )
    if to == "transformers" and (config.pre_norm or config.vit):
        limits.append(
            "Tokens of images are those behind post_layernorm, which transformers applies to CLS only."
        )
    return ModelCard(
        title=name,
        what="Image and text encoder of an image-text model; the product of an image's and a text's features "
        "says how well they fit.",
        tags=("image-feature-extraction", "retrieval"),
        library={"onnx": "onnxruntime"}.get(to, to),
        options={"image": list(config.image_size), "max_length": config.max_length, "embed": config.embed},
        limits=limits,
        load=_LOAD[to].format(name=name),
    ).text()
