"""Keyphrases of a stream of documents, in the order they came, whatever the batches (ours)."""

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from keyphrase_plm.documents import Document, Prediction

if TYPE_CHECKING:
    from keyphrase_plm.decoding_options import DecodeOptions
    from keyphrase_plm.families import Family

WINDOW = 1024
"""documents read ahead, to batch those of similar length"""


def predict(
    family: "Family",
    documents: Iterable[Document],
    options: "DecodeOptions",
    *,
    window: int = WINDOW,
) -> Iterator[Prediction]:
    """Predictions one by one, in the order of the documents.

    Args:
        family: a trained model, on the device to work on; it is put into evaluation mode.
        documents: read as they are needed, one window ahead. One without text gets no phrases.
        options: how phrases are written, and how many padded source pieces a batch has.
        window: documents out of which those of similar length share a batch.

    Yields:
        One prediction a document.
    """
    was_training = family.training
    family.eval()
    try:
        held: list[Document] = []
        for document in documents:
            held.append(document)
            if len(held) == window:
                yield from _window(family, held, options)
                held = []
        yield from _window(family, held, options)
    finally:
        family.train(was_training)


def _window(family: "Family", documents: list[Document], options: "DecodeOptions") -> Iterator[Prediction]:
    import torch

    from nonet.data.batching import OrderedBatches

    found = {
        place: Prediction(document.id)
        for place, document in enumerate(documents)
        if not document.title.strip() and not document.body.strip()
    }
    todo = [place for place in range(len(documents)) if place not in found]
    rows = {place: family.encode(documents[place], gold=False) for place in todo}
    lengths = [int(rows[place]["size"][0]) for place in todo]
    if todo:
        limit = max(options.batch_tokens, *lengths)  # a longer document is a batch of its own
        for places in OrderedBatches(lengths, max_tokens=limit, by_length=True).epoch(0):
            batch = [todo[int(place)] for place in places]
            with torch.no_grad():
                predictions = family.predict(
                    [documents[place] for place in batch], [rows[place] for place in batch], options
                )
            for place, prediction in zip(batch, predictions, strict=True):
                found[place] = clean(prediction)
    for place in range(len(documents)):
        yield found[place]


def clean(prediction: Prediction) -> Prediction:
    """A prediction without phrases that are empty, given twice, or scored with no number.

    Nothing is left of an output that is empty or only separators: the list is empty, not one empty phrase.
    """
    kept: dict[str, int] = {}
    for place, phrase in enumerate(prediction.phrases):
        score = prediction.scores[place] if prediction.scores else 0.0
        if phrase.strip() and math.isfinite(score):
            kept.setdefault(phrase.strip(), place)
    if tuple(kept) == prediction.phrases:
        return prediction
    return prediction._replace(
        phrases=tuple(kept),
        scores=tuple(prediction.scores[place] for place in kept.values()) if prediction.scores else (),
        spans=tuple(prediction.spans[place] for place in kept.values()) if prediction.spans else (),
    )
