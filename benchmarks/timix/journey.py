"""The whole way of a new user, on real photographs: from files of captions to an exported model.

`python -m benchmarks.timix.journey` takes 1,000 photographs of Flickr8k (800 to learn from, 200 kept out) and
159 of COCO (80 and 79, the 80 with boxes) through the package's commands: prepare, preview, pretrain,
evaluate, preview with the model's scores, finetune and evaluate on retrieval and captions, predict, export,
info. The model is the preset `tiny`, with a decoder and a matching head, from random weights.

What it shows is that the way works, and what it costs: so few photographs teach a model from random weights
hardly anything about others. Said before it was run: above chance on the images learnt from, near it on those
kept out. Six minutes on one core; pictures, runs and models are left in `--work`. The data is read from the
folder of NONET_DATA (shared/data/README.md says what is in it); without it there is nothing to do.
"""

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any

import torch
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table

from nonet.options import build, read
from nonet.testing import call_cli
from nonet.training.seeds import seed_all
from nonet.vision_language.pair_folders import save_pair_model
from nonet.vision_language.pretraining.method import begin_with
from nonet.vision_language.training_stages import read_stages
from timix.commands.pretrain import Options
from timix.mix_training import method

WORK = Path("runs/timix/journey")
CAPTIONS = 5  # of each photograph
CUTS = (1, 5, 10)


@dataclass(frozen=True)
class Photographs:
    """A data set and how it is learnt from."""

    name: str
    source: str
    """what `prepare` reads"""
    held_out: str | int
    """a file of others to measure on, or how many of the images, the last ones, are kept for that"""
    prepare: tuple[str, ...] = ()
    """more words for `prepare`"""
    pretrain: tuple[str, ...] = ()
    """more words for `pretrain`"""
    batch: int = 64
    passes: int = 20
    tuned: int = 8
    """passes of fine-tuning"""


class Journey:
    """Runs commands and adds up the CPU seconds of training.

    Args:
        folder: what all paths are below.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.seconds = folder, 0.0

    def run(self, *words: object, trains: bool = False) -> str:
        """A command of timix as a user types it; its output.

        Raises:
            RuntimeError: it failed.
        """
        print("$ timix", *words)
        begin = time.process_time()
        done = call_cli("timix", *words, cwd=self.folder)
        if done.returncode:
            raise RuntimeError(f"timix {' '.join(map(str, words))}: {done.stderr}")
        self.seconds += time.process_time() - begin if trains else 0.0
        print(done.stdout, end="")
        return done.stdout

    def scores(self, task: str, model: str, data: str, *words: object) -> dict[str, float]:
        """What `evaluate` says."""
        said = self.run("evaluate", task, "--model", model, "--data", data, *words)
        return {
            name: float(value) for name, _, value in (line.rpartition(": ") for line in said.splitlines())
        }

    def row(self, name: str, model: str, scores: dict[str, float], *, trained: bool = True) -> Row:
        """Scores, and what the training took that led to them."""
        stages = read_stages(self.folder / model / "model") if trained else []
        gmac = [stage["gmac_per_example"] for stage in stages if "gmac_per_example" in stage]
        kept = {name: f"{value:.2f}" for name, value in scores.items() if "second" not in name}
        return {
            "name": name, **{key: value for key, value in kept.items() if not key.startswith("ties")},
            "steps": sum(stage["steps"] for stage in stages),
            "pairs seen": sum(stage["examples"] for stage in stages),
            "CPU s": f"{self.seconds:.0f}" if trained else "0",
            "GMAC a pair, pre-training": f"{gmac[0]:.3f}" if gmac else None,
        }  # fmt: skip


def main(tiny: bool = False, work: Path = WORK) -> list[Row]:
    """Both data sets, kept in benchmarks/results; if tiny, COCO for a few steps. No rows without the data."""
    flickr, coco = data_folder("flickr8k-mini"), data_folder("coco-mini")
    if flickr is None or coco is None:
        print("journey: flickr8k-mini and coco-mini are not here: name their folder in NONET_DATA")
        return []
    torch.set_num_threads(1)
    ways = [
        Photographs("Flickr8k", str(flickr / "captions.txt"), 200),
        Photographs(
            "COCO", str(coco / "annotations/captions_train2017.json"),
            str(coco / "annotations/captions_val2017.json"),
            prepare=("--regions", f"coco:{coco / 'annotations/instances_train2017.json'}"),
            pretrain=("--regions", "data/regions.jsonl", "--mix.score", "tpp"), batch=40, passes=30,
        ),
    ]  # fmt: skip
    retrieval: list[Row] = []
    captions: list[Row] = []
    for way in ways[1:] if tiny else ways:
        folder = work.absolute() / way.name.lower()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        journey = Journey(folder)
        found = travel(journey, way, tiny)
        retrieval += found[0]
        captions += found[1]
    print(table(retrieval), table(captions), sep="\n\n")
    if not tiny:
        about = {
            "versions": ("torch", "transformers", "timm"), "seed": 0,
            "data": "flickr8k-mini, 800 photographs learnt from and 200 kept out; coco-mini, 80 and 79",
        }  # fmt: skip
        save("timix", retrieval, table="journey", **about)
        save("timix", captions, table="journey-captions", **about)
    return [*retrieval, *captions]


def travel(journey: Journey, way: Photographs, tiny: bool) -> tuple[list[Row], list[Row]]:
    """One data set: rows of retrieval, rows of captions."""
    journey.run("prepare", "--pairs", way.source, *way.prepare, "--vocabulary", 2000, "--out", "data")
    train, held_out, count = split(journey.folder, way, tiny)
    journey.run("preview", "--pairs", train, "--n", 4, "--image", 192, "--out", "mixed.png")
    passes, tuned = (1, 1) if tiny else (way.passes, way.tuned)
    journey.run(
        "pretrain", "--preset", "tiny", "--pairs", train, "--val", held_out, "--tokenizer", "data/tokenizer",
        *way.pretrain, "--batch", way.batch, "--epochs", passes, "--validate", passes, "--rates.warmup", 1,
        "--model.decoder-layers", 1, "--losses.itm", 1, "--losses.prefix", 1, "--out", "pretrain",
        trains=True,
    )  # fmt: skip
    score = ("--mix.score", "tpp" if "tpp" in way.pretrain else "itc")
    journey.run("preview", "--pairs", train, "--n", 4, "--model", "pretrain", *score, "--out", "guided.png")
    untrained(journey.folder)

    rows = [chance(f"{way.name}, by chance", count)]
    plain = ("--rerank", 0)
    found = journey.scores("retrieval", "untrained", held_out, *plain)
    rows.append(journey.row(f"{way.name}, before", "untrained", found, trained=False))
    found = journey.scores("retrieval", "pretrain", held_out, *plain)
    rows.append(journey.row(f"{way.name}, pre-trained", "pretrain", found))
    found = journey.scores("retrieval", "pretrain", "data/seen.jsonl", *plain)
    rows.append(journey.row(f"{way.name}, pre-trained, images learnt from", "pretrain", found))
    before = journey.seconds
    tune(journey, "retrieval", train, held_out, way, tuned, "--queue", 0, "--rerank", 16)
    for name, words in (("", plain), (", 16 candidates matched", ("--rerank", 16))):
        found = journey.scores("retrieval", "retrieval", held_out, *words)
        rows.append(journey.row(f"{way.name}, fine-tuned{name}", "retrieval", found))

    journey.seconds = before
    found = journey.scores("caption", "pretrain", held_out, "--beams", 2)
    captions = [journey.row(f"{way.name}, pre-trained", "pretrain", found)]
    tune(journey, "caption", train, held_out, way, tuned, "--beams", 2)
    found = journey.scores("caption", "caption", held_out)
    captions.append(journey.row(f"{way.name}, fine-tuned", "caption", found))
    journey.run("predict", "caption", "--model", "caption", "--input", held_out, "--out", "captions.jsonl")
    journey.run("export", "--model", "retrieval", "--format", "onnx", "--out", "onnx")
    journey.run("info", "--path", "retrieval")
    return rows, captions


def tune(
    journey: Journey, task: str, train: str, held_out: str, way: Photographs, passes: int, *words: object
) -> None:
    """Fine-tune, and validate once, at the end."""
    journey.run(
        "finetune", task, "--model", "pretrain", "--train", train, "--val", held_out, "--image", 48,
        "--max-length", 20, "--batch", way.batch, "--epochs", passes, "--validate-epochs", passes,
        "--lr", 3e-4, "--lr-visual", 3e-4, *words, "--out", task, trains=True,
    )  # fmt: skip


def split(folder: Path, way: Photographs, tiny: bool) -> tuple[str, str, int]:
    """Names of the files to learn from and to measure on, and how many images the latter has. Beside them
    `data/seen.jsonl` has as many of the images that are learnt from."""
    lines = (folder / "data/pairs.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    others = way.held_out
    if isinstance(others, int):
        lines, apart = lines[:-others], lines[-others:]
        (folder / "data/held_out.jsonl").write_text("".join(apart[:20] if tiny else apart), encoding="utf-8")
        others = "data/held_out.jsonl"
        count = 20 if tiny else len(apart)
    else:
        count = len(json.loads(Path(others).read_text(encoding="utf-8"))["images"])
    if tiny:
        lines = lines[: 2 * way.batch]
    (folder / "data/train.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "data/seen.jsonl").write_text("".join(lines[:count]), encoding="utf-8")
    return "data/train.jsonl", others, count


def untrained(folder: Path) -> None:
    """The model that the run began with, as a folder."""
    import contextlib

    with contextlib.chdir(folder):
        options: Any = build(Options, [read(Path("pretrain/options.yaml"))])
        seed_all(options.trainer.seed)
        begin = begin_with(options, method(options), lambda line: None)
        save_pair_model(begin.model, begin.tokenizer, "untrained", "Random weights.")


def chance(name: str, count: int) -> Row:
    """What a random order of `count` images and their captions reaches in the mean, percent."""
    texts = CAPTIONS * count
    found = {f"TR@{cut}": 1 - comb(texts - CAPTIONS, cut) / comb(texts, cut) for cut in CUTS}
    found |= {f"IR@{cut}": cut / count for cut in CUTS}
    found["R-mean"] = sum(found.values()) / len(found)
    return {"name": name, **{key: f"{100 * share:.2f}" for key, share in found.items()}}


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, default=WORK, help="folder that is made anew (default: %(default)s)"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(work=arguments().work)
