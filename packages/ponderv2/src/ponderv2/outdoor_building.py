"""The parts of outdoor pre-training, made from the options of `pretrain`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nonet.errors import UserError
from ponderv2.outdoor_batches import OutdoorDataset, collate_outdoor
from ponderv2.outdoor_config import Modality, OutdoorConfig, sized
from ponderv2.outdoor_folders import save_outdoor
from ponderv2.outdoor_model import OutdoorModel, build_outdoor_model
from ponderv2.outdoor_options import OutdoorOptions
from ponderv2.reading import OUTDOOR, open_scenes
from ponderv2.scenes import SceneList

IMAGE_ENCODER = "backbone.encoder."  # in the names of the image network's weights


class OutdoorParts(NamedTuple):
    """What pre-training on streets is made of.

    Attributes:
        model: with `encode`, `render` and `losses`.
        dataset: `dataset[(epoch, index)]` is an item.
        collate: items to a batch.
        factor: a weight's name to the factor of its rate.
        scenes: the frames, with what was skipped.
        save: (folder, facts): writes the model folder.
    """

    model: OutdoorModel
    dataset: OutdoorDataset
    collate: Callable[[Sequence[Any]], Any]
    factor: Callable[[str], float]
    scenes: SceneList
    save: Callable[..., Path]


def build_outdoor(options: Any, scenes: SceneList) -> OutdoorParts:
    """The model with initial weights, and the frames that it learns from.

    Args:
        options: of `pretrain`: `modality`, `size`, `outdoor`, and `trainer.seed`.
        scenes: of `open_streets`.

    Raises:
        UserError: images' weights that cannot be had.
    """
    config = OutdoorConfig(**sized(options.modality, options.size, options.outdoor))
    dataset = OutdoorDataset(scenes, options.outdoor, options.modality, seed=options.trainer.seed)
    model = build_outdoor_model(config)

    def save(folder: str | Path, facts: Any = None, **how: Any) -> Path:
        return save_outdoor(folder, model, facts, **how)

    factor = image_factor(options.outdoor, options.modality)
    return OutdoorParts(model, dataset, collate_outdoor, factor, scenes, save)


def image_factor(options: OutdoorOptions, modality: Modality) -> Callable[[str], float]:
    """Factors of rates: `options.image_rate` for the network of images, 1 for all else.

    Args:
        options: with the factor.
        modality: with `lidar` there are no images; the sparse U-Net has an `encoder`, too.
    """

    def factor(name: str) -> float:
        return options.image_rate if modality == "camera" and IMAGE_ENCODER in name else 1.0

    return factor


def open_streets(sources: Sequence[str]) -> SceneList:
    """The frames of data sets of streets, one after the other.

    Args:
        sources: `nuscenes:PATH[:SPLIT]` or `kitti:PATH[:SPLIT]`.

    Raises:
        UserError: another kind, or data that cannot be read; classes that differ.
    """
    for source in sources:
        if source.partition(":")[0] not in OUTDOOR:
            raise UserError(f"data {source}: streets are nuscenes:PATH[:SPLIT] or kitti:PATH[:SPLIT]")
    return open_scenes(sources)
