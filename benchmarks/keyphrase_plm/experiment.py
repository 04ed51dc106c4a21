"""What the experiments on keyphrases share: the papers and posts, pre-training, fine-tuning, and scoring."""

import gzip
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.data import data_folder

from keyphrase_plm.documents import Document

TEST = 400  # labelled papers that are scored, never learnt from
RESAMPLES = 2000


@dataclass(frozen=True)
class Setting:
    """The sizes of an experiment."""

    layers: int = 4
    width: int = 128
    heads: int = 2
    feed_forward: int = 0  # 0: four times the width
    vocabulary: int = 8000
    pieces: int = 128  # of the longest input
    pretrain_steps: int = 1250
    pretrain_batch: int = 32  # rows of `pieces`
    pretrain_lr: float = 1e-3
    finetune_lr: float = 1e-3
    finetune_batch: int = 16
    texts: int | None = None  # raw texts at most; None: all
    accelerator: str = "cpu"


@cache
def papers(learn: int | None = None, test: int = TEST) -> tuple[list[Document], list[Document]]:
    """Papers with their authors' keywords, tokenised: those to learn from in one random order, and those to
    score; fewer of either are the first ones."""
    from nonet.data.batching import generator

    folder = data_folder("papers")
    if folder is None:
        return [], []
    with open(folder / "keyphrases.jsonl", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    order = generator(0, "papers").permutation(len(records))

    def some(numbers: np.ndarray) -> list[Document]:
        chosen = [records[number] for number in numbers]
        return [labelled(each["id"], each["title"], each["abstract"], each["keywords"]) for each in chosen]

    return some(order[TEST:][:learn]), some(order[:test])


def posts(side: str, limit: int | None = None) -> list[Document]:
    """Posts of StackExchange with their tags; `side` is valid or test."""
    folder = data_folder("stackexchange-kp", "data", "StackExchange")
    if folder is None:
        return []
    sources = (folder / f"{side}_src.txt").read_text(encoding="utf-8").splitlines()[:limit]
    targets = (folder / f"{side}_trg.txt").read_text(encoding="utf-8").splitlines()[:limit]
    found = []
    for number, (source, target) in enumerate(zip(sources, targets, strict=True)):
        title, _, body = source.partition("<eos>")
        found.append(labelled(f"{side}-{number}", title, body, target.split(";")))
    return found


def labelled(name: str, title: str, body: str, phrases: Iterable[str]) -> Document:
    """A document in the form that `keyphrase-plm prepare` writes: tokenised, phrases apart."""
    from keyphrase_plm.presence import split, stemmer
    from keyphrase_plm.sequences import source_words, tokenised, unique

    document = Document(name, tokenised(title.lower()), tokenised(body.lower()))
    clean = unique(tokenised(each.lower()) for each in phrases)
    present, absent = split(source_words(document), clean, stemmer("porter"))
    return document._replace(present=tuple(present), absent=tuple(absent))


def abstracts(without: Sequence[Document], limit: int | None = None) -> list[str]:
    """Titles and abstracts of unlabelled papers, tokenised, but none with a title among `without`."""
    from keyphrase_plm.sequences import tokenised

    folder = data_folder("papers")
    if folder is None:
        return []
    titles = {each.title for each in without}
    found = []
    with gzip.open(folder / "abstracts.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            if (title := tokenised(record["title"].lower())) not in titles:
                found.append(f"{title} {tokenised(record['abstract'].lower())}")
            if len(found) == limit:
                break
    return found


def vocabulary(setting: Setting, texts: Sequence[str], folder: Path) -> Any:
    """A WordPiece vocabulary learnt once and kept in a folder."""
    from transformers import AutoTokenizer

    from keyphrase_plm.vocabulary import train_vocabulary

    if not (folder / "tokenizer.json").exists():
        tokenizer = train_vocabulary(texts, setting.vocabulary, kind="wordpiece", positions=512)
        tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def encoder(setting: Setting, tokenizer: Any, folder: Path, *, seed: int) -> Path:
    """The folder of an encoder with random weights."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    if not (folder / "model.safetensors").exists():
        config = BertConfig(
            vocab_size=len(tokenizer), hidden_size=setting.width, num_hidden_layers=setting.layers,
            num_attention_heads=setting.heads, pad_token_id=tokenizer.pad_token_id,
            intermediate_size=setting.feed_forward or 4 * setting.width,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            BertForMaskedLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def pretrain(
    setting: Setting, tokenizer: Any, texts: Sequence[str], folder: Path, *, seed: int, pieces: int | None
) -> dict[str, Any]:
    """Masked words on texts from random weights, kept in FOLDER/model.

    Args:
        setting: sizes and steps.
        tokenizer: of `vocabulary`.
        texts: in the order in which they are taken.
        folder: of the run.
        seed: of weights, order and masks.
        pieces: take texts up to so many pieces; None: all.

    Returns:
        `pieces` of the corpus, `passes` over it, and the first and last training `loss` in nats.
    """
    from transformers import BertForMaskedLM

    from keyphrase_plm.masked_words import MaskedWords
    from keyphrase_plm.text_rows import encode_texts
    from nonet.data.batching import generator

    rows = encode_texts(texts, tokenizer, length=setting.pieces, pack=True)
    rows = [rows[i] for i in generator(0, "rows").permutation(len(rows))]
    if pieces is not None:
        rows = rows[: max(1, pieces // setting.pieces)]
    model = BertForMaskedLM.from_pretrained(encoder(setting, tokenizer, folder / "start", seed=seed))
    shutil.rmtree(folder / "run", ignore_errors=True)
    objective = MaskedWords(model, tokenizer)
    lines = _fit(
        setting, objective, rows, folder / "run", steps=setting.pretrain_steps, batch=setting.pretrain_batch,
        lr=setting.pretrain_lr, seed=seed,
    )  # fmt: skip
    objective.model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    shutil.rmtree(folder / "run", ignore_errors=True)
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    return {
        "pieces": sum(len(row["ids"]) for row in rows),
        "passes": setting.pretrain_steps * setting.pretrain_batch / len(rows),
        "loss": [losses[0], losses[-1]],
    }


def finetune(
    setting: Setting, family: Any, documents: Sequence[Document], folder: Path, *, steps: int, seed: int
) -> Any:
    """A family trained on documents for a fixed number of steps; its last weights."""
    rows = [family.encode(document) for document in documents]
    shutil.rmtree(folder, ignore_errors=True)
    _fit(
        setting, family, rows, folder, steps=steps, batch=min(setting.finetune_batch, len(rows)),
        lr=setting.finetune_lr, seed=seed,
    )  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)
    return family


def _fit(
    setting: Setting, family: Any, rows: list[Any], folder: Path, *, steps: int, batch: int, lr: float,
    seed: int,
) -> list[dict[str, Any]]:  # fmt: skip
    from keyphrase_plm.training import fit
    from nonet.runs import Run
    from nonet.training.options import OptimizerOptions, TrainerOptions

    trainer = TrainerOptions(
        steps=steps, seed=seed, accelerator=setting.accelerator, clip=1.0,  # type: ignore[arg-type]
        validate_every=0, checkpoint_every=0, log_every=max(1, steps // 20),
    )  # fmt: skip
    optimizer = OptimizerOptions(lr=lr, weight_decay=0.01, schedule="linear", warmup=steps // 10)
    with Run.create("keyphrase_plm", "claim", trainer, seed=seed, folder=folder) as run:
        return fit(
            family, rows, run, batch=batch, batch_tokens=None, select="last", trainer=trainer,
            optimizer=optimizer, say=lambda _: None,
        )  # fmt: skip


def predicted(family: Any, documents: Sequence[Document], **options: Any) -> list[list[str]]:
    """The phrases of each document by a model."""
    from keyphrase_plm.decoding_options import DecodeOptions
    from keyphrase_plm.predicting import predict
    from nonet.training.devices import pick_device

    family = family.to(pick_device("auto"))
    found = [list(each.phrases) for each in predict(family, documents, DecodeOptions(**options))]
    family.to("cpu")
    return found


def measured(
    documents: Sequence[Document], phrases: Sequence[Sequence[str]], cut: int | str, *, of: Any = "present"
) -> dict:
    """F1 of present (or absent) phrases by the convention chan, and what intervals are made of.

    Returns:
        `f1`, `precision`, `recall` in per cent, `predictions` of the class a document, `all` predictions
        a document, and each document's precision and recall (`documents`).
    """
    from keyphrase_plm.sequences import source_text
    from nonet.metrics.keyphrases import score

    scores = score(
        [
            (source_text(each), [*each.present, *each.absent], said)
            for each, said in zip(documents, phrases, strict=True)
        ],
        "chan",
        (cut,),
    )
    found = scores.macro(of, cut)
    return {
        "f1": 100 * found.f1, "precision": 100 * found.precision, "recall": 100 * found.recall,
        "predictions": float(scores.said[of].mean()),
        "all": float(np.mean([len(each) for each in phrases])),
        "documents": np.round(scores.sums(of, cut)[:, :2], 5).tolist(),
    }  # fmt: skip


def over_documents(
    runs: Sequence[dict], base: Sequence[dict] | None = None, *, level: float = 0.95
) -> tuple[float, float]:
    """The interval of F1, averaged over runs, when the test documents are drawn anew; paired with `base`, of
    the difference to it.

    Args:
        runs: of `measured`, one a seed, on the same documents.
        base: the same for another arm.
        level: coverage.
    """
    from nonet.data.batching import generator

    counts = len(runs[0]["documents"])
    draws = generator(0, "documents").multinomial(counts, np.full(counts, 1 / counts), RESAMPLES) / counts

    def f1(each: dict) -> np.ndarray:
        means = draws @ np.array(each["documents"])
        total = means.sum(1)
        found: np.ndarray = np.divide(200 * means.prod(1), total, out=np.zeros(len(draws)), where=total > 0)
        return found

    values = np.mean([f1(each) for each in runs], 0)
    if base is not None:
        values = values - np.mean([f1(each) for each in base], 0)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def floors(documents: Sequence[Document], corpus: Callable[[], Iterable[Document]]) -> dict[str, dict]:
    """YAKE and TF-IDF, five phrases a document, scored on the same documents.

    Args:
        documents: scored.
        corpus: documents whose frequencies TF-IDF takes.
    """
    from keyphrase_plm.presence import stemmer
    from keyphrase_plm.stop_words import ENGLISH
    from keyphrase_plm.tfidf import DocumentFrequencies
    from keyphrase_plm.unsupervised import extract

    known = DocumentFrequencies.of(corpus(), ENGLISH, stemmer("porter"))
    found = {}
    for name, method in (("YAKE, top 5", "yake"), ("TF-IDF, top 5", "tfidf")):
        said = extract(method, documents, top=5, frequencies=known)  # type: ignore[arg-type]
        found[name] = measured(documents, [list(each.phrases) for each in said], "M")
    return found
