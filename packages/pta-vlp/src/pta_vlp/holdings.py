"""What the folder of a model or run holds, how it selects patches, and what that costs (ours).

No weights are loaded: the sizes of the vision tower stand in the header of their file.
"""

import dataclasses
from pathlib import Path
from typing import Any

from nonet.errors import UserError
from nonet.training.weight_files import WEIGHTS
from nonet.vision_language.pair_config import CONFIG, read_config
from nonet.vision_language.pair_holdings import holdings
from nonet.vision_language.patch_detector import PREDICTOR
from pta_vlp.cost import Tower, kept_tokens, pruned_macs
from pta_vlp.model_folders import read_select
from pta_vlp.select_options import SelectOptions

KEEPS = (0.3, 0.5, 0.7)  # shares that the cost is told of, beside the model's own
TEXTS = 5  # about one image, as VQA v2 has


def pruned_holdings(path: Path) -> dict[str, dict[str, Any]]:
    """What a folder holds.

    Args:
        path: of a model, a run, or an export.

    Returns:
        Part -> name -> value, those of `pair_holdings` and, of a model, `selection` and `vision tower,
        GMAC a text`, in billions of multiply-accumulates.

    Raises:
        UserError: no such folder, one of something else, or a damaged file; the text names it.
    """
    found = holdings(path)
    folder = path if (path / CONFIG).is_file() else path / "model"
    if not (folder / CONFIG).is_file():
        return found
    rows, columns = read_config(folder).grid
    tower = tower_in(folder / WEIGHTS, rows * columns)
    with_detector = (folder / f"{PREDICTOR}.safetensors").is_file()
    options = read_select(folder, tower.depth, with_detector=with_detector)
    return found | {
        "selection": _selection(options, tower, with_detector),
        "vision tower, GMAC a text": _cost(options, tower, with_detector),
    }


def tower_in(weights: Path, patches: int) -> Tower:
    """The sizes of the vision tower in a file of a model's weights.

    Args:
        weights: `model.safetensors`.
        patches: of an image.

    Raises:
        UserError: it is missing or damaged, or has no vision tower.
    """
    from safetensors import SafetensorError, safe_open

    first, end = "vision.vit.blocks.", ".mlp.fc1.weight"
    try:
        with safe_open(weights, framework="np") as file:
            names = [name for name in file.keys() if name.startswith(first) and name.endswith(end)]  # noqa: SIM118
            hidden, width = file.get_slice(names[0]).get_shape() if names else (0, 0)
    except (SafetensorError, FileNotFoundError) as error:
        raise UserError(f"{weights}: missing or damaged: {error}") from error
    if not names:
        raise UserError(f"{weights}: no blocks of a vision transformer in it")
    return Tower(patches, width, len(names), hidden)


def _selection(options: SelectOptions, tower: Tower, with_detector: bool) -> dict[str, Any]:
    kept = kept_tokens(tower, options)
    if kept == 1 + tower.patches:
        keeps = f"all {tower.patches} patches"
    else:
        fused = ", and one token for the others" if options.fuse else ""
        keeps = f"{kept - 1 - options.fuse} of {tower.patches} patches{fused}"
    return {
        "patch detector": "yes" if with_detector else "none: `pta-vlp detector` trains one",
        "selection": options.selection
        + (f", {options.alpha:g} of it by text" if options.selection == "mixed" else ""),
        "behind block": f"{options.block} of 0 to {tower.depth - 1}"
        + (", dropped behind the last" if options.late else ""),
        "keep": f"{options.keep:g}: {keeps}",
    }


def _cost(options: SelectOptions, tower: Tower, with_detector: bool) -> dict[str, str]:
    """For each text: where an image has one, and where it has several, which share what knows none."""
    way = options.selection if options.selection != "off" else ("text" if with_detector else "attention")
    shares = sorted({*KEEPS, options.keep, 1.0})
    found = {}
    for keep in shares:
        own = dataclasses.replace(options, keep=keep, selection=way)
        one, several = (pruned_macs(tower, own, texts=texts) / 1e9 for texts in (1, TEXTS))
        found[f"keep {keep:g}"] = f"{one:.4g} with 1 text about an image, {several:.4g} with {TEXTS}"
    return found
