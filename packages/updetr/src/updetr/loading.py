"""Models saved as folders, and loaded from them: whole, or what a new model can begin with (ours).

What a folder holds says `updetr.model_folders`.
"""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nonet.errors import UserError
from nonet.files import write_json
from nonet.training.hub import load_account, save_folder
from nonet.training.weight_files import WEIGHTS
from updetr.backbones import RESNETS, TransformersBackbone
from updetr.detector import Detector
from updetr.detector_config import DetectorConfig
from updetr.hf_configs import CLASSES, SIZES, preprocessor, resnet_config, write_config
from updetr.hf_weights import to_hf
from updetr.model_card import card
from updetr.model_folders import FORMAT, NOTE, PRETEXT, Source, read_source
from updetr.query_patches import PatchDetector

_SIZES = ("arch", "backbone", "width", "heads", "encoder_layers", "decoder_layers", "hidden")
"""what a detector and the one that it begins with must agree on"""


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def save_model(
    folder: Path,
    model: Detector | PatchDetector,
    facts: Mapping[str, Any] | None = None,
    *,
    sizes: tuple[int, int] = SIZES,
    overwrite: bool = False,
) -> Path:
    """Write a model folder, whole or not at all; of several processes the first one writes.

    Args:
        folder: new, or written by us.
        model: a detector, or one with patches.
        facts: of its training, plain values; they go into updetr.json and the card.
        sizes: shortest and longest side, in pixels, that images are resized to.
        overwrite: replace a folder that we wrote.

    Raises:
        UserError: the folder holds something else.
    """
    writer = _Writer(model, dict(facts or {}), sizes)
    return save_folder(writer, None, Path(folder), writer.card(Path(folder).name), overwrite=overwrite)


def load_model(
    name: str | Path, *, say: Callable[[str], None] = _say, device: str | torch.device = "cpu"
) -> Detector | PatchDetector:
    """A model in evaluation mode.

    Args:
        name: a model's or run's folder, or a hub name of a DETR or Table Transformer.
        say: takes the account where weights and model do not match in full.
        device: where it goes.

    Raises:
        UserError: no such model, a damaged one, or one of an architecture that is not supported.
    """
    source = read_source(name)
    with torch.random.fork_rng(devices=[]):  # initial weights are all replaced: they cost no random numbers
        model = build(source)
    detector = model.detector if isinstance(model, PatchDetector) else model
    put(detector, source, say=say)
    if isinstance(model, PatchDetector):
        put_pretext(model, source)
    return model.eval().to(device)


def load_into(
    model: Detector | PatchDetector,
    name: str | Path,
    *,
    resize_queries: bool = False,
    say: Callable[[str], None] = _say,
) -> None:
    """Begin with another model's weights; says what was taken and what starts anew.

    The rule is that of the released code: everything but the classes' head, which is kept only where the
    names of the classes are the same; the patches' heads are taken by a model that has them.

    Args:
        model: takes the weights.
        name: as for `load_model`, or with `hf:` before it.
        resize_queries: where the numbers of queries differ, take the first ones or repeat them.
        say: takes the account.

    Raises:
        UserError: the models have different sizes, or different numbers of queries.
    """
    source = read_source(name)
    detector = model.detector if isinstance(model, PatchDetector) else model
    config = detector.config
    for entry in _SIZES:
        theirs, ours = getattr(source.config, entry), getattr(config, entry)
        if theirs != ours:
            raise UserError(
                f"{name}: its {entry} is {theirs}, that of the new detector is {ours}; give {theirs}"
            )
    state = dict(source.state)
    if config.arch not in CLASSES:
        detector.load_initial(state, source.config, resize_queries=resize_queries, say=say)  # type: ignore[operator]
        _begin_patches(model, source, str(name), say)
        return
    if source.config.queries != config.queries:
        if not resize_queries:
            raise UserError(
                f"{name}: has {source.config.queries} queries, and the new detector {config.queries}; ask "
                f"for {source.config.queries}, or let --resize-queries cut or repeat them"
            )
        rows = torch.arange(config.queries) % source.config.queries
        state["query_embed.weight"] = state["query_embed.weight"][rows]
        say(f"{name}: its {source.config.queries} queries are cut or repeated to {config.queries}")
    if source.config.labels != config.labels:
        state = {key: tensor for key, tensor in state.items() if not key.startswith("class_embed.")}
        say(f"{name}: other classes: the head for {', '.join(config.labels[:8])} starts anew")
    wanted = detector.state_dict()
    other = [key for key, tensor in state.items() if key in wanted and tensor.shape != wanted[key].shape]
    load_account(
        wanted.keys() - state.keys(),
        [*(state.keys() - wanted.keys()), *source.left],
        other,
        len(wanted),
        say=say,
    )
    detector.load_state_dict({key: tensor for key, tensor in state.items() if key not in other}, strict=False)
    _begin_patches(model, source, str(name), say)


def build(source: Source) -> Detector | PatchDetector:
    """The model of a folder, with initial weights."""
    detector = new_detector(source.config, source.backbone)
    return PatchDetector(detector) if source.pretext else detector


def new_detector(config: DetectorConfig, backbone: Mapping[str, Any] | None = None) -> Detector:
    """A detector with initial weights.

    Args:
        config: its sizes.
        backbone: config of a backbone that transformers builds without asking the hub.
    """
    if config.arch not in CLASSES:
        from updetr.other_detectors import build as build_other

        other: Detector = build_other(config)
        return other
    if backbone is None:
        return Detector(config)
    from transformers import AutoBackbone, AutoConfig

    settings = dict(backbone)
    made = AutoBackbone.from_config(AutoConfig.for_model(settings.pop("model_type"), **settings))
    return Detector(config, TransformersBackbone(made))


def put(detector: Detector, source: Source, *, say: Callable[[str], None] = _say) -> None:
    """Load a folder's weights into the detector that `build` made for it.

    Raises:
        UserError: over a tenth does not match.
    """
    if source.config.arch not in CLASSES:
        detector.load_hf_state(source.state)  # type: ignore[operator]
        return
    wanted = detector.state_dict()
    other = [
        name for name, tensor in source.state.items() if name in wanted and tensor.shape != wanted[name].shape
    ]
    missing = sorted(wanted.keys() - source.state.keys())
    unexpected = [*sorted(source.state.keys() - wanted.keys()), *source.left]
    quiet = not (missing or unexpected or other)
    load_account(missing, unexpected, other, len(wanted), say=(lambda _: None) if quiet else say)
    fitting = {name: tensor for name, tensor in source.state.items() if name in wanted and name not in other}
    detector.load_state_dict(fitting, strict=False)


def _begin_patches(
    model: Detector | PatchDetector, source: Source, name: str, say: Callable[[str], None]
) -> None:
    """Take the patches' heads along, as far as the model has them; says which."""
    if not isinstance(model, PatchDetector):
        if source.pretext:
            say(f"{name}: its heads of patches are left out")
    elif not source.pretext:
        say(f"{name}: has no heads of patches: they start anew")
    else:
        more = "" if model.feature_align is not None else ", but for the one that reconstructs"
        put_pretext(model, source, whole=model.feature_align is not None)
        say(f"{name}: its heads of patches are taken, too{more}")


def put_pretext(model: PatchDetector, source: Source, *, whole: bool = True) -> None:
    """Load the patches' heads.

    Args:
        model: has some of them.
        source: has them.
        whole: refuse those that the model lacks; otherwise they are left out.

    Raises:
        UserError: pretext.safetensors is for another model.
    """
    own = {name for name in model.state_dict() if not name.startswith("detector.")}
    if own - source.pretext.keys() or (whole and source.pretext.keys() - own):
        raise UserError(
            f"{source.folder / PRETEXT}: has {sorted(source.pretext)}, and the model asks for {sorted(own)}"
        )
    try:
        model.load_state_dict({name: source.pretext[name] for name in own}, strict=False)
    except RuntimeError as error:
        raise UserError(f"{source.folder / PRETEXT}: {str(error).splitlines()[-1].strip()}") from error


def write_detector(detector: Detector, folder: Path, sizes: tuple[int, int]) -> None:
    """Write the three files that transformers loads.

    Args:
        detector: a plain one, or one of `updetr.other_detectors`.
        folder: is there.
        sizes: shortest and longest side of images, pixels.
    """
    from safetensors.torch import save_file

    config = detector.config
    if config.arch in CLASSES:
        found = write_config(config, backbone_config(detector))
        state = to_hf(detector.state_dict(), timm=config.dilation)
    else:
        found = detector.hf_config().to_dict()  # type: ignore[operator]
        state = detector.hf_state()  # type: ignore[operator]
    write_json(folder / "config.json", found)
    write_json(folder / "preprocessor_config.json", preprocessor_of(detector, sizes))
    save_file(_plain(state), folder / WEIGHTS, metadata={"format": "pt"})


def preprocessor_of(detector: Detector, sizes: tuple[int, int]) -> dict[str, Any]:
    """What a detector's preprocessor_config.json says; `sizes` as for `write_detector`."""
    if detector.config.arch in CLASSES:
        return preprocessor(*sizes)
    found: dict[str, Any] = detector.hf_preprocessor(*sizes)  # type: ignore[operator]
    return found


class _Writer:
    """What `save_folder` calls."""

    def __init__(
        self, model: Detector | PatchDetector, facts: dict[str, Any], sizes: tuple[int, int]
    ) -> None:
        self.model, self.facts, self.sizes = model, facts, sizes
        self.detector = model.detector if isinstance(model, PatchDetector) else model

    def card(self, name: str) -> str:
        return card(self.detector.config, name, self.facts, patches=self.model is not self.detector)

    def save_pretrained(self, folder: Path) -> None:
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        write_detector(self.detector, folder, self.sizes)
        config = dataclasses.asdict(self.detector.config)
        note = {"format": FORMAT, "detector": config, "sizes": self.sizes, "training": self.facts}
        write_json(folder / NOTE, note)
        if isinstance(self.model, PatchDetector):
            heads = {
                name: tensor
                for name, tensor in self.model.state_dict().items()
                if not name.startswith("detector.")
            }
            save_file(_plain(heads), folder / PRETEXT)


def backbone_config(detector: Detector) -> dict[str, Any]:
    """The backbone's part of config.json."""
    if detector.config.backbone in RESNETS:
        return resnet_config(detector.config.backbone)
    found: dict[str, Any] = detector.backbone.model.config.to_dict()
    return found


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
