"""What the claims share: where the data is, the corpora, and one arm of pre-training and fine-tuning.

An arm is a function of (setting, arm, seed): it trains in a folder of its own and returns numbers. Arms run
in processes of one thread each, and a finished one is not run again.
"""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pegasus.options import CorpusOptions, DecodeOptions, GapOptions, MaskOptions, ModelOptions, WordOptions

ROOT = Path(__file__).resolve().parents[2]


def jsonl(path: Path) -> list[dict[str, Any]]:
    """All records of a JSON lines file."""
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@dataclass(frozen=True)
class Pairs:
    """Documents with one summary to learn and all of them to be scored against."""

    documents: list[str]
    summaries: list[list[str]]

    def first(self, count: int | None) -> "Pairs":
        """The first so many, or all."""
        return Pairs(self.documents[:count], self.summaries[:count])


@dataclass(frozen=True)
class Setting:
    """Everything of an experiment but arm and seed; plain data, so that it travels to other processes."""

    name: str
    corpus: Path
    text_field: str
    tokenizer: Path
    shards: Path
    model: ModelOptions
    masks: MaskOptions
    pretrain_steps: int
    finetune_steps: int
    batch: int
    pretrain_lr: float
    finetune_lr: float
    vocabulary: int
    accelerator: str = "cpu"
    finetune_batch: int = 32
    chunk: int = 0


def prepare(setting: Setting) -> None:
    """Tokenizer and shards, once."""
    from nonet.data.text import TextReader
    from pegasus.building import build_shards
    from pegasus.corpus import source
    from pegasus.tokenizer import Tokenizer

    reader = TextReader([setting.corpus])
    if not setting.tokenizer.exists():
        texts = (
            item.text if isinstance(item.text, str) else "\n".join(item.text)
            for item in (source(record, setting.text_field) for record in reader)
        )
        Tokenizer.train(texts, setting.vocabulary, setting.tokenizer)
    build_shards(
        reader, Tokenizer.load(setting.tokenizer), setting.shards, words=WordOptions(), gaps=GapOptions(),
        corpus=CorpusOptions(min_sentences=3, chunk=setting.chunk), text_field=setting.text_field,
    )  # fmt: skip


def pretrain(
    setting: Setting, folder: Path, *, strategy: str, words: float = 0.0, ratio: float = 0.3, seed: int
) -> Any:
    """A model pre-trained with one strategy, or taken from `folder` if it was trained before."""
    from nonet.data.batching import BucketedBatches
    from nonet.data.shards import Shards
    from nonet.runs import Run
    from nonet.training.hub import save_folder
    from nonet.training.options import OptimizerOptions, TrainerOptions
    from pegasus.data import GapSentenceData
    from pegasus.losses import GapSentenceLoss
    from pegasus.model import load_model, new_model
    from pegasus.tokenizer import Tokenizer
    from pegasus.training import Sets, fit

    if (folder / "model").exists():
        return load_model(folder / "model")
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = Tokenizer.load(setting.tokenizer)
    shards = Shards(setting.shards)
    gaps = GapOptions(strategy=strategy, ratio=ratio)  # type: ignore[arg-type]
    data = GapSentenceData(
        shards, gaps, replace(setting.masks, words=words), tokenizer.starts_word, seed=seed
    )
    steps = setting.pretrain_steps
    trainer = TrainerOptions(
        steps=steps, seed=seed, accelerator=setting.accelerator, clip=1.0,  # type: ignore[arg-type]
        validate_every=0, checkpoint_every=0, log_every=50,
    )  # fmt: skip
    optimizer = OptimizerOptions(lr=setting.pretrain_lr, schedule="linear", warmup=steps // 10)
    with Run.create("pegasus", "claim", trainer, seed=seed, folder=folder) as run:
        model, _ = fit(
            new_model(setting.model, len(tokenizer), seed=seed),
            Sets(data, BucketedBatches(data.lengths, batch=setting.batch, seed=seed)),
            run, trainer=trainer, optimizer=optimizer, losses=GapSentenceLoss(), state={},
        )  # fmt: skip
        shutil.rmtree(run.checkpoints)
        save_folder(model, None, run.model, "")
    return model


def finetune(
    setting: Setting,
    folder: Path,
    model: Any,
    train: Pairs,
    val: Pairs,
    *,
    steps: int,
    seed: int,
    patience: int = 0,
) -> Any:
    """A model fine-tuned on pairs; the weights with the lowest validation loss.

    The pairs that choose the weights are `val`; they are not those that are scored.
    """
    from nonet.data.batching import OrderedBatches, RandomBatches
    from nonet.runs import Run
    from nonet.training.options import OptimizerOptions, TrainerOptions
    from pegasus.data import PairData
    from pegasus.losses import GapSentenceLoss
    from pegasus.tokenizer import Tokenizer
    from pegasus.training import Sets, fit

    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = Tokenizer.load(setting.tokenizer)
    sides = [
        PairData(side.documents, [each[0] for each in side.summaries], tokenizer.encode, setting.masks)
        for side in (train, val)
    ]
    trainer = TrainerOptions(
        steps=steps, seed=seed, accelerator=setting.accelerator, clip=1.0,  # type: ignore[arg-type]
        validate_every=max(1, min(50, steps // 6)), checkpoint_every=0, log_every=50,
    )  # fmt: skip
    optimizer = OptimizerOptions(lr=setting.finetune_lr, schedule="linear", warmup=steps // 10)
    with Run.create("pegasus", "claim", trainer, seed=seed, folder=folder) as run:
        model, _ = fit(
            model,
            Sets(
                sides[0], RandomBatches(len(sides[0]), min(setting.finetune_batch, len(sides[0])), seed),
                sides[1], OrderedBatches(sides[1].lengths, batch=64),
            ),
            run, trainer=trainer, optimizer=optimizer, losses=GapSentenceLoss(label_smoothing=0.1), state={},
            patience=patience,
        )  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)
    return model


def nats(setting: Setting, model: Any, pairs: Pairs) -> float:
    """Nats a summary token, end token included, over all pairs."""
    import torch

    from nonet.training.devices import pick_device
    from pegasus.data import PairData, collate
    from pegasus.losses import GapSentenceLoss
    from pegasus.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(setting.tokenizer)
    data = PairData(pairs.documents, [each[0] for each in pairs.summaries], tokenizer.encode, setting.masks)
    device = pick_device("cpu" if setting.accelerator == "cpu" else "auto")
    model, losses = model.to(device).eval(), GapSentenceLoss().eval()
    total = count = 0.0
    with torch.no_grad():
        for start in range(0, len(data), 64):
            batch = collate([data[(0, i)] for i in range(start, min(start + 64, len(data)))])
            term = losses(model, {name: value.to(device) for name, value in batch.items()})["gsg"]
            total, count = total + float(term.total), count + float(term.count)
    return total / count


def rouge(setting: Setting, model: Any, pairs: Pairs, decode: DecodeOptions) -> dict[str, float]:
    """Mean ROUGE F1 (stemmed, best reference), times 100."""
    from nonet.metrics.rouge import score_multi
    from nonet.training.devices import pick_device
    from pegasus.predict import summarize
    from pegasus.tokenizer import Tokenizer

    model = model.to(pick_device("cpu" if setting.accelerator == "cpu" else "auto"))
    tokenizer = Tokenizer.load(setting.tokenizer)
    written = [item.text for item in summarize(model, tokenizer, pairs.documents, decode)]
    types = ("rouge1", "rouge2", "rougeL")
    return {
        kind: 100 * float(values[:, 2].mean())
        for kind, values in score_multi(pairs.summaries, written, types).items()
    }
