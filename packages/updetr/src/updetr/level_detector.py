"""The interface of `updetr.detector.Detector` around transformers' detectors with several maps (ours)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nonet.errors import UserError
from nonet.training.hub import load_account
from updetr.backbone_base import Backbone
from updetr.detector_config import DetectorConfig
from updetr.hf_levels import load_state, whole_state
from updetr.set_detector import SetDetector
from updetr.transfer import part_of, transfer, transfer_line

# Shapes: B images, N queries, d their size, K classes, L decoder layers.

CLASS_HEADS = ("class_embed.", "model.decoder.class_embed.", "model.enc_score_head.")
PRETEXT_LABELS = ("patch",)
QUERIES = "model.query_position_embeddings.weight"


class LevelDetector(SetDetector):
    """What Deformable-DETR and RT-DETR share.

    Args:
        config: sizes.
        backbone: gives three maps.
        hf: transformers' detector; its own backbone is taken out.

    Attributes:
        config: as given.
        sigmoid: True: a class has a probability of its own, and none is for no object.
        backbone: as given.
        hf: as given.
    """

    sigmoid = True

    def __init__(self, config: DetectorConfig, backbone: Backbone, hf: Any) -> None:
        super().__init__()
        self.config, self.backbone, self.hf = config, backbone, hf
        self.hf.model.backbone = nn.Identity()

    def freeze_choice(self) -> None:
        """Let what chooses queries learn nothing: where queries are given, it has no part."""
        for name, weight in self.hf.named_parameters():
            if part_of(name) == "query selection":
                weight.requires_grad_(False)

    def hf_config(self) -> Any:
        """The config of transformers' class, its backbone included."""
        return self.hf.config

    def hf_preprocessor(self, shortest: int, longest: int) -> dict[str, Any]:
        """What transformers' preprocessor_config.json says.

        Args:
            shortest: side of an image, pixels.
            longest: side at most, pixels.
        """
        raise NotImplementedError

    def hf_state(self) -> dict[str, Tensor]:
        """All tensors under the names of transformers' class."""
        return whole_state(self.hf, self.backbone)

    def load_hf_state(self, state: Mapping[str, Tensor]) -> None:
        """Take tensors with the names that `hf_state` gives.

        Raises:
            UserError: some are missing, unknown or of another shape.
        """
        load_state(self.hf, self.backbone, state)

    def load_initial(
        self,
        state: Mapping[str, Tensor],
        config: DetectorConfig,
        *,
        resize_queries: bool = False,
        say: Callable[[str], None] = print,
    ) -> None:
        """Begin with another detector's tensors; class heads only where the classes have the same names.

        Args:
            state: with the names of transformers' class.
            config: of that detector, of the same architecture and sizes.
            resize_queries: where the numbers of queries differ, take the first ones or repeat them.
            say: takes the account.

        Raises:
            UserError: another number of queries, or hardly a tensor fits.
        """
        own = self.hf_state()
        given = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
        if config.labels != self.config.labels:
            given = {name: x for name, x in given.items() if not name.startswith(CLASS_HEADS)}
        if QUERIES in given and config.queries != self.config.queries:
            if not resize_queries:
                raise UserError(
                    f"the weights have {config.queries} queries and the detector {self.config.queries}; ask "
                    f"for {config.queries}, or let --resize-queries cut or repeat them"
                )
            given[QUERIES] = given[QUERIES][torch.arange(self.config.queries) % config.queries]
            say(f"{config.queries} queries are cut or repeated to {self.config.queries}")
        missing = [name for name in own if name not in given and not name.endswith("num_batches_tracked")]
        other = [name for name, x in given.items() if name in own and own[name].shape != x.shape]
        extra = [name for name in given if name not in own]
        load_account(missing, extra, other, len(own), say=say)
        if config.labels == PRETEXT_LABELS:
            say(transfer_line(transfer(own)))
        fitting = {name: x for name, x in given.items() if name in own and name not in other}
        self.load_hf_state(own | fitting)
