"""Fine-tuned models: built, started from a pre-trained backbone, saved and loaded (ours)."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nonet.errors import UserError
from nonet.files import sha256
from nonet.training.model_card import ModelCard
from ponderv2.model_folders import load_backbone, read_model, write_folder
from ponderv2.point_group import PointGroup
from ponderv2.segmentor import PromptedBackbone, Segmentor
from ponderv2.semantic_heads import LanguageHead, LinearHead
from ponderv2.spunet import build_spunet
from ponderv2.task_config import TaskConfig, read_task_config

Say = Callable[[str], None]
TaskModel = Segmentor | PointGroup

WHAT = {
    "semseg": "names every point of a room",
    "insseg": "finds the objects of a room, each with its points",
    "det": "finds the objects of a room, each with its box",
}


class LoadedTask(NamedTuple):
    """A fine-tuned model from its folder.

    Attributes:
        model: in evaluation mode, on the CPU.
        config: what it is.
        folder: where it lies.
        key: SHA-256 of its weights and its configuration: another key, another model.
    """

    model: TaskModel
    config: TaskConfig
    folder: Path
    key: str


def build_task_model(
    config: TaskConfig, *, text: Mapping[str, Tensor] | None = None, lovasz: float = 0.0
) -> TaskModel:
    """A model with initial weights.

    Args:
        config: what it is.
        text: head text: each data set's name to the (K, D) vectors of its class names; None: zeros, to be
            loaded over.
        lovasz: semseg: weight of the Lovasz loss.
    """
    features = PromptedBackbone(build_spunet(config.backbone), config.prompt)
    only = next(iter(config.classes)) if len(config.classes) == 1 else None
    counts = {dataset: len(names) for dataset, names in config.classes.items()}
    if config.task == "semseg":
        head: nn.Module
        if config.head == "linear":
            head = LinearHead(features.width, counts)
        else:
            vectors = text or {name: torch.zeros(n, config.text_width) for name, n in counts.items()}
            head = LanguageHead(features.width, vectors)
        return Segmentor(features, head, lovasz=lovasz, only=only)
    if only is None:
        raise UserError(f"{config.task} learns from one data set, not from {', '.join(config.classes)}")
    middle = "box" if config.task == "det" and config.boxes == "votes" else "mean"
    return PointGroup(
        features, classes=counts[only], ignored=config.ignored(only), middle=middle  # type: ignore[arg-type]
    )  # fmt: skip


def start_backbone(model: nn.Module, init: str | None, *, allow_partial: bool, say: Say) -> None:
    """Load the backbone of a pre-trained model, and nothing else of it; says what was matched.

    Args:
        model: has `features.backbone`.
        init: folder or file; None: the weights stay as they are.
        allow_partial: go on where under 90 % match.
        say: takes the account.

    Raises:
        UserError: no such model, another architecture, or too little matches.
    """
    if init is None:
        say("from scratch: the backbone has random weights")
        return
    features: Any = model.features
    load_backbone(features.backbone, init, allow_partial=allow_partial, say=say)


def save_task(
    folder: Path, model: TaskModel, config: TaskConfig, facts: Mapping[str, Any], *, overwrite: bool = False
) -> None:
    """Write a model as a folder that `load_task` reads.

    Args:
        folder: where.
        model: its weights are saved, in its own names.
        config: what it is.
        facts: of the training: `data`, `options`, `scores`, ...
        overwrite: replace a folder that was written so before.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    state = {_outside(name): tensor for name, tensor in state.items()}
    write_folder(
        folder, kind=config.task, config=asdict(config), state=state, card=_card(folder, config, facts),
        facts=dict(facts), overwrite=overwrite,
    )  # fmt: skip


def load_task(name: str) -> LoadedTask:
    """A fine-tuned model.

    Args:
        name: a model folder, or a run folder with one in it.

    Raises:
        UserError: no such model, one that is not fine-tuned, or weights that do not fit its configuration.
    """
    found = read_model(name)
    config = read_task_config(found.config, str(found.path / "config.json"))
    with torch.random.fork_rng(devices=[]):
        model = build_task_model(config)
    state = {_inside(key): tensor for key, tensor in found.state.items()}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{found.path}: its weights do not fit its configuration: {reason}") from error
    key = "".join(sha256(path) for path in sorted(found.path.glob("*.safetensors")))
    key += sha256(found.path / "config.json")
    return LoadedTask(model.eval(), config, found.path, _short(key))


def _outside(name: str) -> str:
    """The backbone's weights lie under `backbone.` in a file, as those of all models here."""
    return name.removeprefix("features.") if name.startswith("features.") else name


def _inside(name: str) -> str:
    return f"features.{name}" if name.startswith("backbone.") else name


def _short(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def _card(folder: Path, config: TaskConfig, facts: Mapping[str, Any]) -> str:
    from nonet.training.model_card import Score

    scores = [
        Score(metric=name, value=value, data=str(facts.get("val", "")))
        for name, value in dict(facts.get("scores") or {}).items()
        if value is not None
    ]
    title = folder.parent.name if folder.name == "model" else folder.name
    return ModelCard(
        title=title or "model",
        what=f"A sparse U-Net that {WHAT[config.task]}, fine-tuned with PonderV2's recipe.",
        tags=("point-cloud", config.task),
        library="ponderv2",
        base=facts.get("init"),
        data=str(facts.get("data", "")),
        options=str(facts.get("options", "")),
        scores=scores,
        limits=("Scores on voxels (validation) and by votes on all points (--tta) are two things.",),
        load=f'from ponderv2.task_models import load_task\n\nmodel = load_task("{folder}").model',
    ).text()
