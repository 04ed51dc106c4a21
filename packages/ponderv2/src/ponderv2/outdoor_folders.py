"""Folders of outdoor models: what was pre-trained on streets, and detectors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nonet.errors import UserError
from nonet.training.model_card import ModelCard, Score
from ponderv2.model_folders import ModelFolder, put, read_model, write_folder
from ponderv2.outdoor_config import OutdoorConfig, OutdoorDetectorConfig, read_config, saved_dict
from ponderv2.outdoor_detection import OutdoorDetector, build_outdoor_detector
from ponderv2.outdoor_model import OutdoorModel, build_outdoor_model

OUTDOOR, DETECTOR = "outdoor", "outdoor-det"
SEES = {"lidar": "LiDAR sweeps", "camera": "the images of several cameras"}


def save_outdoor(
    folder: str | Path,
    model: OutdoorModel | OutdoorDetector,
    facts: Mapping[str, Any] | None = None,
    *,
    card: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a model that `load_outdoor` or `load_outdoor_detector` reads.

    Args:
        folder: new, or written by us.
        model: of either kind. The backbone's tensors are named `backbone.*` in both.
        facts: of its training, plain values.
        card: text of README.md; None for a short one.
        overwrite: replace a folder that we wrote.

    Raises:
        UserError: the folder holds something else.
    """
    kind = DETECTOR
    config: OutdoorConfig = getattr(model, "street", model.config)  # type: ignore[arg-type]
    if isinstance(model, OutdoorModel):
        kind = OUTDOOR
    state = {name.removeprefix("features."): tensor for name, tensor in model.state_dict().items()}
    facts = dict(facts or {})
    return write_folder(
        folder,
        kind=kind,
        config=saved_dict(config),
        state=state,
        card=_card(Path(folder), kind, config, facts) if card is None else card,
        facts=facts,
        overwrite=overwrite,
    )


def load_outdoor(name: str | Path) -> OutdoorModel:
    """A model of outdoor pre-training, in evaluation mode.

    Raises:
        UserError: no such model, one of another kind, or weights that do not fit.
    """
    found = _of_kind(name, OUTDOOR)
    config: OutdoorConfig = read_config(OutdoorConfig, found.config, f"{found.path}/config.json")
    with torch.random.fork_rng(devices=[]):
        model = build_outdoor_model(config)
    put(model, found.state, quiet=True)
    return model.eval()


def load_outdoor_detector(name: str | Path) -> OutdoorDetector:
    """A detector of boxes on streets, in evaluation mode.

    Raises:
        UserError: no such model, one of another kind, or weights that do not fit.
    """
    found = _of_kind(name, DETECTOR)
    where = f"{found.path}/config.json"
    config: OutdoorDetectorConfig = read_config(OutdoorDetectorConfig, found.config, where)
    with torch.random.fork_rng(devices=[]):
        model = build_outdoor_detector(config)
    inside = {
        f"features.{key}" if key.startswith("backbone.") else key: value for key, value in found.state.items()
    }
    put(model, inside, quiet=True)
    return model.eval()


def _of_kind(name: str | Path, kind: str) -> ModelFolder:
    found = read_model(name)
    if found.kind != kind:
        made = {OUTDOOR: "pretrain --modality", DETECTOR: "finetune det --modality"}[kind]
        raise UserError(f"{name}: a model of kind {found.kind}; name one of `{made} lidar` or `camera`")
    return found


def _card(folder: Path, kind: str, config: OutdoorConfig, facts: Mapping[str, Any]) -> str:
    sees = SEES[config.modality]
    if kind == OUTDOOR:
        what = f"A backbone for {sees} that was pre-trained by rendering streets (PonderV2, UniPAD)."
        load = f'from ponderv2.outdoor_folders import load_outdoor\n\nmodel = load_outdoor("{folder.name}")'
    else:
        what = f"A detector of boxes on streets that sees {sees}."
        load = (
            "from ponderv2.outdoor_folders import load_outdoor_detector\n\n"
            f'model = load_outdoor_detector("{folder.name}")'
        )
    scores = [
        Score(metric=name, value=value, data=str(facts.get("val", "")))
        for name, value in dict(facts.get("scores") or {}).items()
        if value is not None
    ]
    return ModelCard(
        title=folder.parent.name if folder.name == "model" else folder.name,
        what=what,
        tags=("lidar" if config.modality == "lidar" else "multi-view", "driving"),
        library="ponderv2",
        base=facts.get("init"),
        data=str(facts.get("data", "")),
        options=str(facts.get("options", "")),
        scores=scores,
        limits=("One sweep a frame: sweeps of other moments are not joined.",),
        load=load,
    ).text()
