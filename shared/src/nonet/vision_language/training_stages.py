"""What a model has been through, kept beside its weights: no score without its cost (ours).

A model's folder has `training.json`: a list of stages, the first one first. Each has `verb` (pretrain, or
finetune and the task), `losses` (names of what was learnt), `steps` of the optimiser, `examples` seen (with
repetition), `device_hours` (wall clock times devices) and, where they were counted, `gmac_per_example`,
milliards of multiplications and additions of one example in training. Of a model that others trained nothing
is known: its stage has `from`, its name, alone.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nonet.errors import UserError

TRAINING = "training.json"

Stage = Mapping[str, Any]


def read_stages(folder: Path, name: str | os.PathLike[str] | None = None) -> list[dict[str, Any]]:
    """The stages of the model in a folder; of a model without the file one that knows its name alone.

    Args:
        folder: of the model.
        name: by which it was asked for; None: the folder.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / TRAINING
    if not path.is_file():
        return [{"from": os.fspath(name or folder)}]
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise UserError(f"{path}: not a list of stages")
    return found


def as_json(stages: Sequence[Stage]) -> str:
    """The text of `training.json`."""
    return json.dumps(list(map(dict, stages)), indent=2) + "\n"


def learnt(stages: Iterable[Stage], loss: str) -> bool:
    """Whether a model may have learnt a loss: some stage had it, or is not known."""
    return any("from" in stage or loss in stage.get("losses", ()) for stage in stages)


def told(stage: Stage) -> str:
    """A stage in a line: `pretrain: 150 steps, 9,600 examples seen, 85 s of a device, 0.0438 GMAC each`."""
    if "from" in stage:
        return f"{stage['from']}: what its training took is not known"
    said = [f"{stage['steps']:,} steps", f"{stage['examples']:,} examples seen"]
    hours = float(stage["device_hours"])
    said.append(f"{hours:.3g} device hours" if hours >= 1 else f"{hours * 3600:.3g} s of a device")
    if stage.get("gmac_per_example") is not None:
        said.append(f"{stage['gmac_per_example']:.3g} GMAC each")
    return f"{stage['verb']}: {', '.join(said)}"
