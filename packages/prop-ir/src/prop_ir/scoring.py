"""Scores of many query-document pairs by a cross-encoder: texts tokenised once, batches by length (ours).

`CrossEncoder.predict` of sentence-transformers, which this is measured against, tokenises every pair anew,
sorts by characters and pads. Here pieces come in, pairs of one length share a block without padding, and
BERT-like models go through `bert_forward`. The order of the pairs decides on nothing but the last bits.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonet.errors import UserError
from nonet.training.devices import pick_device
from prop_ir.bert_forward import BertForward, Block, supports
from prop_ir.inputs import PairTemplate
from prop_ir.model import longest_input, reads_segments

Ids = NDArray[Any]  # word pieces: any integer type
Precision = Literal["auto", "fp32", "bf16"]


class Scorer:
    """Scores pairs with a ranker, as its weights are at that time.

    Args:
        ranker: a model of transformers for sequence classification with one label.
        tokenizer: its tokenizer, which says how pairs are joined.
        max_length: pieces of a pair, special ones included; longer documents are cut at their end.
        batch: pairs at once.
        device: `cpu`, `cuda`, ...; `auto`: the first GPU if there is one; `same`: where the ranker is.
        precision: bf16 multiplies in bfloat16; auto: on GPUs that have it. On the CPU it is fp32.
        own_forward: False: transformers' forward pass for every model.

    Raises:
        UserError: the device is not there, or the model has fewer positions than `max_length`.
    """

    def __init__(
        self,
        ranker: Any,
        tokenizer: Any,
        *,
        max_length: int = 512,
        batch: int = 32,
        device: str = "auto",
        precision: Precision = "auto",
        own_forward: bool = True,
    ) -> None:
        if batch < 1:
            raise UserError(f"batch is {batch}; it is at least 1")
        self.template = PairTemplate.of(tokenizer)
        self.template.fit(1, 1, max_length)  # refuses a length without room
        limit = longest_input(ranker)
        if limit is not None and max_length > limit:
            raise UserError(
                f"max_length is {max_length}, but the model has {limit} positions: give at most {limit}"
            )
        self.ranker, self.max_length, self.batch = ranker, max_length, batch
        self.pad = int(tokenizer.pad_token_id or 0)
        self.segments = reads_segments(ranker)
        if device != "same":
            ranker.to(pick_device(device))
        self.dtype = _dtype(precision, ranker.device)
        self.own = own_forward and supports(ranker)
        self._forward: BertForward | None = None
        self._seen: list[Any] = []

    def score(
        self,
        queries: Sequence[Ids],
        documents: Sequence[Ids],
        pairs: NDArray[np.int64] | Sequence[tuple[int, int]],
        *,
        advance: Callable[[int], Any] | None = None,
    ) -> NDArray[np.float64]:
        """Scores of pairs.

        Args:
            queries: pieces of each query, without special ones.
            documents: pieces of each document likewise, at least as many as fit.
            pairs: (n, 2) number of the query and of the document.
            advance: is told how many pairs each batch had.

        Returns:
            (n,) the raw outputs of the model; nothing bounds them.
        """
        chosen = np.asarray(pairs, np.int64).reshape(-1, 2)
        scores = np.empty(len(chosen))
        lengths = self.fit(
            np.array([len(q) for q in queries], np.int64)[chosen[:, 0]],
            np.array([len(d) for d in documents], np.int64)[chosen[:, 1]],
        )
        training = self.ranker.training
        self.ranker.eval()
        try:
            order = np.argsort(-lengths.sum(1), kind="stable")
            for start in range(0, len(order), self.batch):
                batch = order[start : start + self.batch]
                rows = [
                    (queries[q][:a], documents[d][:b])
                    for (q, d), (a, b) in zip(chosen[batch].tolist(), lengths[batch].tolist(), strict=True)
                ]
                scores[batch] = self._batch(rows).double().cpu().numpy()
                if advance is not None:
                    advance(len(batch))
        finally:
            self.ranker.train(training)
        return scores

    def fit(self, query: NDArray[np.int64], document: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n, 2) pieces that are read of queries and documents of these lengths; see `PairTemplate.fit`."""
        sizes, places = np.unique(np.stack([query, document], 1), axis=0, return_inverse=True)
        fitted = [self.template.fit(a, b, self.max_length) for a, b in sizes.tolist()]
        return np.array(fitted, np.int64).reshape(-1, 2)[places.reshape(-1)]

    @torch.inference_mode()
    def _batch(self, rows: list[tuple[Ids, Ids]]) -> Tensor:
        """(rows,) scores of rows in order of length, the longest first."""
        device = self.ranker.device
        joined = [self.template.join(query, document, self.max_length) for query, document in rows]
        sizes = [len(row.ids) for row in joined]
        if self.own and device.type == "cpu":
            ids = torch.from_numpy(np.concatenate([row.ids for row in joined]))
            segments = torch.from_numpy(np.concatenate([row.segments for row in joined]))
            lengths, counts = np.unique(-np.array(sizes), return_counts=True)
            blocks = [Block(n, -length) for length, n in zip(lengths.tolist(), counts.tolist(), strict=True)]
            return self._own()(ids, segments, blocks)
        n, most = len(joined), sizes[0]
        table = np.full((2, n, most), self.pad, np.int64)
        table[1] = 0
        for place, row in enumerate(joined):
            table[0, place, : sizes[place]] = row.ids
            table[1, place, : sizes[place]] = row.segments
        ids, segments = torch.from_numpy(table).to(device).unbind(0)
        mask = torch.arange(most, device=device) < torch.tensor(sizes, device=device)[:, None]
        if self.own:
            block = Block(n, most, None if sizes[-1] == most else mask[:, None, None])
            return self._own()(ids.reshape(-1), segments.reshape(-1), [block])
        inputs = {"input_ids": ids, "attention_mask": mask.long()}
        if self.segments:
            inputs["token_type_ids"] = segments
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.ranker(**inputs).logits[:, 0].float()  # type: ignore[no-any-return]

    def _own(self) -> BertForward:
        """The forward pass with the present weights."""
        seen = [(p.data_ptr(), p._version) for p in self.ranker.parameters()]
        if self._forward is None or seen != self._seen:
            self._forward, self._seen = BertForward(self.ranker, self.dtype), seen
        return self._forward


def _dtype(precision: Precision, device: torch.device) -> torch.dtype:
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32
