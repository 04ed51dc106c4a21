"""Present F1@M of validation documents while training: what weights are chosen by (ours).

The original chooses by a home-made F1, (p + r) / 2 * p * r, of distinct phrases. Ours is the number that is
reported in the end, macro F1@M of present phrases under the convention `chan`, on a sample. The number of
phrases a document is logged beside it: a model that has collapsed predicts none.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch.distributed as distributed

from keyphrase_plm.documents import Document, Prediction

if TYPE_CHECKING:
    from keyphrase_plm.families import Family


class PresentF1:
    """Predicts a sample of documents and scores it; each device predicts its share.

    Args:
        documents: the sample, with gold phrases.
        options: `DecodeOptions`.
    """

    def __init__(self, documents: Sequence[Document], options: Any) -> None:
        self.documents, self.options = list(documents), options

    def __call__(self, family: "Family") -> dict[str, float]:
        """`f1` in 0..1, and `phrases` a document."""
        from keyphrase_plm.predicting import predict

        joined = distributed.is_available() and distributed.is_initialized()
        rank, world = (distributed.get_rank(), distributed.get_world_size()) if joined else (0, 1)
        mine = list(predict(family, self.documents[rank::world], self.options))
        shares: list[Any] = [mine]
        if joined:
            shares = [None] * world
            distributed.all_gather_object(shares, mine)
        found = {prediction.id: prediction for share in shares for prediction in share}
        predictions = [found[document.id] for document in self.documents]
        phrases = sum(len(prediction.phrases) for prediction in predictions)
        return {
            "f1": present_f1(self.documents, predictions),
            "phrases": phrases / max(len(self.documents), 1),
        }


def present_f1(documents: Sequence[Document], predictions: Sequence[Prediction]) -> float:
    """Macro F1@M of present phrases, in 0..1, as `evaluate` reports it."""
    from keyphrase_plm.sequences import source_text
    from nonet.metrics.keyphrases import score

    rows = (
        (source_text(document), [*document.present, *document.absent], list(prediction.phrases))
        for document, prediction in zip(documents, predictions, strict=True)
    )
    return float(score(rows, "chan", ("M",)).macro("present", "M").f1)
