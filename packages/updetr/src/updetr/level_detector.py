"""The interface of `updetr.detector.Detector` around transformers' detectors with several maps (ours)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nonet.errors import UserError
from nonet.training.hub import load_account
from updetr.backbone_base import Backbone
from updetr.batches import Images, Outputs
from updetr.detector_config import DetectorConfig
from updetr.hf_levels import load_state, whole_state
from updetr.level_memory import LevelMemory

# Shapes: B images, N queries, d their size, K classes, L decoder layers.

CLASS_HEADS = ("class_embed.", "model.decoder.class_embed.", "model.enc_score_head.")
QUERIES = "model.query_position_embeddings.weight"


class LevelDetector(nn.Module):
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

    def forward(
        self,
        images: Images,
        *,
        query_extra: Tensor | None = None,
        groups: int = 1,
        queries: int | None = None,
    ) -> Outputs:
        """Boxes and classes after each decoder layer; `encode`, then `decode`."""
        return self.decode(self.encode(images), query_extra=query_extra, groups=groups, queries=queries)

    def encode(self, images: Images) -> LevelMemory:
        """Backbone and encoder."""
        return self.encode_maps(self.backbone(images.pixels), images.mask)

    def encode_maps(self, maps: tuple[Tensor, ...], mask: Tensor) -> LevelMemory:
        """The encoder on maps that the backbone gave before.

        Args:
            maps: of the backbone; the last three are encoded.
            mask: (B, H, W) bool, True where there is an image, at the size of the pixels.
        """
        raise NotImplementedError

    def decode(
        self,
        memory: LevelMemory,
        *,
        query_extra: Tensor | None = None,
        groups: int = 1,
        queries: int | None = None,
        order: Tensor | None = None,
    ) -> Outputs:
        """Boxes and classes after each decoder layer; arguments as for `decode_with_states`."""
        return self.decode_with_states(
            memory, query_extra=query_extra, groups=groups, queries=queries, order=order
        )[0]

    def decode_with_states(
        self,
        memory: LevelMemory,
        *,
        query_extra: Tensor | None = None,
        groups: int = 1,
        queries: int | None = None,
        order: Tensor | None = None,
    ) -> tuple[Outputs, Tensor]:
        """Boxes and classes after each decoder layer, and what the queries hold there.

        Args:
            memory: of `encode`.
            query_extra: (B, n, d) added to the n queries, or what they are where they are none by themselves.
            groups: so many runs of n / groups queries do not see each other.
            queries: n, how many queries are used, the first ones; all by default.
            order: (N,) int64, the queries in another order, before anything is added to them.

        Returns:
            The outputs, logits (L, B, n, K), and (L, B, n, d).
        """
        raise NotImplementedError

    def hf_config(self) -> Any:
        """The config of transformers' class, its backbone included."""
        return self.hf.config

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
        fitting = {name: x for name, x in given.items() if name in own and name not in other}
        self.load_hf_state(own | fitting)
