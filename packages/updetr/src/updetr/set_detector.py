"""What every detector is asked for, whichever it is: an encoder's memory, and answers of queries (ours)."""

from typing import Any

from torch import Tensor, nn

from updetr.batches import Images, Outputs

# Shapes: B images, N queries, n those that are used, d their size, L decoder layers.


class SetDetector(nn.Module):
    """A detector whose memory of an image serves many decodes.

    Attributes:
        backbone: gives the maps that `encode_maps` takes.
        sigmoid: whether each class has a probability of its own; else they share a softmax with no object.
    """

    backbone: Any
    sigmoid = False

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

    def encode(self, images: Images) -> Any:
        """Backbone and encoder."""
        return self.encode_maps(self.backbone(images.pixels), images.mask)

    def encode_maps(self, maps: tuple[Tensor, ...], mask_BHW: Tensor) -> Any:
        """The encoder on maps that the backbone gave before, of a cache for example.

        Args:
            maps: of the backbone, the finest first.
            mask_BHW: (B, H, W) bool, True where there is an image, at the size of the pixels.
        """
        raise NotImplementedError

    def decode(self, memory: Any, **how: Any) -> Outputs:
        """Boxes and classes after each decoder layer; arguments as for `decode_with_states`."""
        return self.decode_with_states(memory, **how)[0]

    def decode_with_states(
        self,
        memory: Any,
        *,
        query_extra: Tensor | None = None,
        groups: int = 1,
        queries: int | None = None,
        order: Tensor | None = None,
    ) -> tuple[Outputs, Tensor]:
        """Boxes and classes after each decoder layer, and what the queries hold there.

        Args:
            memory: of `encode` or `encode_maps`.
            query_extra: (B, n, d) added to what the n queries ask for, or what they are where they are none
                by themselves.
            groups: so many runs of n / groups queries do not see each other.
            queries: n, how many queries are used, the first ones; all by default.
            order: (N,) int64, the queries in another order, before anything is added to them.

        Returns:
            The outputs, without features; and (L, B, n, d).
        """
        raise NotImplementedError
