"""What the facts in a model's updetr.json say of the options it was trained with (ours)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from updetr.detector_config import DetectorConfig
from updetr.train_options import PretextOptions

PATCH_SIZE = PretextOptions.patch_size  # pixels; the paper's, for models that name none


class PretextSizes(NamedTuple):
    """The sizes of the task that a model was pre-trained on.

    Attributes:
        num_patches: patches of an image, at most.
        patch_size: side of a patch as the backbone sees it, pixels.
        scales: shorter sides of an image, pixels.
        longest: longer side at most, pixels.
    """

    num_patches: int
    patch_size: int
    scales: tuple[int, ...]
    longest: int


def trained_options(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The options, nested; empty where the facts name none, as those of a converted model.

    Args:
        facts: of a model; its `options` are YAML, as a run writes them, or a mapping.
    """
    import yaml

    found = facts.get("options")
    if isinstance(found, str):
        try:
            found = yaml.safe_load(found)
        except yaml.YAMLError:  # written by hand
            found = None
    return dict(found) if isinstance(found, Mapping) else {}


def pretext_sizes(config: DetectorConfig, facts: Mapping[str, Any]) -> PretextSizes:
    """The sizes of a pre-trained model's task; those of the released code for what its facts do not name."""
    options = trained_options(facts)

    def number(name: str, usual: int) -> int:
        value = options.get(name)
        return value if isinstance(value, int) and value > 0 else usual

    scales = options.get("scales")
    good = isinstance(scales, list) and scales and all(isinstance(scale, int) for scale in scales)
    return PretextSizes(
        config.patches,
        number("patch_size", PATCH_SIZE),
        tuple(scales) if isinstance(scales, list) and good else PretextOptions.scales,
        number("longest", PretextOptions.longest),
    )
