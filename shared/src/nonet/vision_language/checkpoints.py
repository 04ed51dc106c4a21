"""Checkpoints of ALBEF, mPLUG, TiMix and CLIP as model folders, with an account of every weight (ours)."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from nonet.errors import UserError
from nonet.training.hub import LIMIT, Account, local_folder
from nonet.training.model_card import ModelCard
from nonet.training.weight_files import read_folder, read_object, read_weight_file
from nonet.vision_language.bert_weights import start_pair_model, with_bert_sizes
from nonet.vision_language.foreign_sizes import Said
from nonet.vision_language.foreign_weights import Foreign, kind_of, read_foreign
from nonet.vision_language.pair_config import PairConfig
from nonet.vision_language.pair_folders import load_tokenizer, load_weights, save_pair_model
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.patch_detector import PREDICTOR, detector_from_released

_WHOSE = {"albef": "ALBEF", "mplug": "mPLUG or TiMix", "clip": "CLIP"}


class Converted(NamedTuple):
    """What a conversion gave.

    Attributes:
        model: in evaluation mode.
        foreign: what was read.
        account: which of the model's weights were in the file.
    """

    model: PairModel
    foreign: Foreign
    account: Account


def read_source(source: str | os.PathLike[str], said: Said) -> tuple[dict[str, Tensor], Said]:
    """The weights of a checkpoint, and what is said about it with what a folder of transformers says itself.

    Args:
        source: a file, or folder or hub name of a CLIP of transformers.
        said: by the user.

    Raises:
        UserError: no such thing, a damaged file, or one that asks to run code.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return read_weight_file(path), said
    if path.suffix in (".pth", ".pt", ".bin", ".ckpt", ".tar", ".safetensors"):
        raise UserError(f"{source}: no such file")
    folder = local_folder(source)
    config = read_object(folder / "config.json")
    vision = config.get("vision_config", config)
    act = vision.get("hidden_act", "quick_gelu")
    if act not in ("quick_gelu", "gelu"):
        raise UserError(f"{source}: its vision transformer uses {act}, not gelu or quick_gelu")
    heads = vision.get("num_attention_heads", 12) if said.heads is None else said.heads
    quick = act == "quick_gelu" if said.quick_gelu is None else said.quick_gelu
    said = dataclasses.replace(said, heads=heads, quick_gelu=quick)
    return read_folder(folder), said


def read_checkpoint_of_others(
    source: str | os.PathLike[str], *, said: Said | None = None, text: str = "", image: int | None = None,
    say: Callable[[str], None] = print,
) -> Converted:  # fmt: skip
    """A model with the weights of a checkpoint of others.

    Args:
        source: file of ALBEF, mPLUG, TiMix or CLIP; folder or hub name of a CLIP of transformers.
        said: what the file does not say.
        text: for a CLIP, whose text encoder is of another kind: folder or hub name of a BERT that text,
            fusion and decoder start from; empty: random weights. Not used for the others.
        image: height and width of images, pixels; None: as in the checkpoint.
        say: takes each finding.

    Raises:
        UserError: no such checkpoint, or one that does not fit.
    """
    weights, said = read_source(source, said or Said())
    if text and kind_of(weights)[0] == "clip":  # the others have a text encoder of their own
        said = dataclasses.replace(said, base=with_bert_sizes(said.base, text))
    foreign = read_foreign(weights, said)
    config = foreign.config
    if foreign.kind == "clip":
        config = dataclasses.replace(config, text=text)
    new = config if image is None else dataclasses.replace(config, image=image, image_width=0)
    say(f"{source}: {_WHOSE[foreign.kind]}, {describe(config)}")
    for line in foreign.assumed:
        say(f"assumed: {line}")
    model = start_pair_model(new, say=say) if foreign.kind == "clip" else PairModel(new)
    # of a CLIP only the vision transformer is there
    limit = 1.0 if foreign.kind == "clip" else LIMIT
    account = load_weights(
        model, foreign.weights, config.grid, say=say, limit=limit, bilinear=foreign.kind == "mplug"
    )
    absent = [name for name in account.missing if name.startswith("vision.vit.")]
    if absent or account.mismatched:
        raise UserError(
            f"{source}: incomplete: {(absent or list(account.mismatched))[0]} is absent or of another shape"
        )
    for reason, count in sorted(foreign.left.items()):
        say(f"left out: {count} weights of {reason}")
    if foreign.unknown:
        shown = ", ".join(foreign.unknown[:5]) + (", ..." if len(foreign.unknown) > 5 else "")
        say(f"left out, unknown here: {len(foreign.unknown)} weights ({shown})")
    return Converted(model.eval(), foreign, account)


def convert_checkpoint(
    source: str | os.PathLike[str], out: str | os.PathLike[str], *, tokenizer: str, said: Said | None = None,
    text: str = "", image: int | None = None, overwrite: bool = False, say: Callable[[str], None] = print,
) -> Path:  # fmt: skip
    """Write a checkpoint of others as a model folder; see `read_checkpoint_of_others`.

    Args:
        source: of the checkpoint.
        out: folder to write.
        tokenizer: folder or hub name of a BERT's tokenizer; empty: none.
        said: what the file does not say.
        text: for a CLIP, the BERT to start from.
        image: height and width of images, pixels.
        overwrite: replace a folder that was written by us.
        say: takes each finding.

    Returns:
        The folder.

    Raises:
        UserError: no such checkpoint or tokenizer, or the tokenizer has more words than the model.
    """
    words = tokenizer_named(tokenizer) if tokenizer else None
    done = read_checkpoint_of_others(source, said=said, text=text, image=image, say=say)
    config = done.model.config
    if words is not None and len(words) > config.vocabulary:
        raise UserError(f"{tokenizer}: {len(words)} words; the model has {config.vocabulary}")
    card = ModelCard(
        title=Path(out).name,
        what=f"An image-text model converted from a checkpoint of {_WHOSE[done.foreign.kind]}: "
        f"{describe(config)}.",
        license="other",
        tags=("image-text", "retrieval"),
        library="nonet",
        options={
            "source": Path(source).name,
            "matched": done.account.matched,
            "missing": len(done.account.missing),
        },
        limits=[
            "The licence is that of the checkpoint.",
            *(f"Assumed: {line}." for line in done.foreign.assumed),
        ],
        load="from nonet.vision_language.pair_folders import load_pair_model\n\n"
        f'model = load_pair_model("{Path(out).name}").model',
    ).text()
    extras = {}
    if done.foreign.detector:
        try:
            extras[PREDICTOR] = detector_from_released(done.foreign.detector)
        except ValueError as error:
            raise UserError(f"{source}: its patch predictor: {error}") from error
        say(f"patch predictor: {len(done.foreign.detector)} weights, in {PREDICTOR}.safetensors")
    return save_pair_model(done.model, words, out, card, extras=extras, overwrite=overwrite)


def tokenizer_named(name: str) -> Any:
    """The tokenizer of a BERT from a folder or the hub.

    Raises:
        UserError: there is none.
    """
    folder = Path(name).expanduser()
    found = load_tokenizer(folder if folder.is_dir() else local_folder(name))
    if found is None:
        raise UserError(f"{name}: no tokenizer in it (tokenizer.json or vocab.txt)")
    return found


def describe(config: PairConfig) -> str:
    """The architecture in a line."""
    vit = config.vit or f"a vision transformer of {config.vit_depth} blocks of {config.vit_width}"
    connected = sum(config.connected(layer) for layer in range(config.fusion_layers))
    return (
        f"{vit}, patches of {config.patch} at {config.image_size[0]} x {config.image_size[1]} pixels; "
        f"{config.text_layers} text, {config.fusion_layers} fusion ({connected} connected) and "
        f"{config.decoder_layers} decoder layers of {config.text_width}"
    )
