"""The parts of `keyphrase-plm demo`: a tiny encoder, taggers from few documents, a writer (ours).

The tagger is trained on a handful of documents from two encoders, one that has read texts without labels
before and one that has not: what the paper says of encoders pre-trained in their domain, in small.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keyphrase_plm.documents import Document, Prediction
from nonet.training.options import OptimizerOptions, TrainerOptions

LENGTH = 64
"""pieces of the longest row; the made-up documents have about 29"""


class Plan(NamedTuple):
    """How long everything takes."""

    texts: int = 1200
    """documents without labels"""
    labelled: int = 6
    """documents that a tagger learns from"""
    draws: int = 3
    """sets of so many documents, over which scores are averaged"""
    written: int = 1200
    """documents with absent phrases, for the writer"""
    test: int = 80
    """documents to score on"""
    pretrain_steps: int = 300
    tag_steps: int = 40
    write_steps: int = 250
    width: int = 64
    """of the encoder, which has two layers"""


class Encoders(NamedTuple):
    """Folders of the two encoders, and the curve of the pre-training."""

    untrained: Path
    pretrained: Path
    curve: list[dict[str, Any]]


def encoders(documents: Sequence[Document], plan: Plan, folder: Path, *, seed: int) -> Encoders:
    """Learn a vocabulary, pre-train an encoder on masked words, and save it as it was before and after."""
    from keyphrase_plm.masked_words import MaskedWords
    from keyphrase_plm.sequences import source_text, target_text
    from keyphrase_plm.small_models import new_bert
    from keyphrase_plm.text_rows import encode_texts
    from keyphrase_plm.training import fit
    from keyphrase_plm.vocabulary import train_vocabulary

    texts = [source_text(document) for document in documents]
    # the labels' words are in no text: a vocabulary that has seen them spares the writer to spell them
    tokenizer = train_vocabulary(
        [*texts, *map(target_text, documents)], 220, kind="wordpiece", positions=LENGTH + 32
    )
    model = new_bert(
        len(tokenizer), pad=tokenizer.pad_token_id, layers=2, width=plan.width, heads=4,
        positions=LENGTH + 32, dropout=0.0, seed=seed,
    )  # fmt: skip
    untrained, pretrained = folder / "untrained", folder / "pretrained"
    _save(model, tokenizer, untrained)
    curve = fit(
        MaskedWords(model, tokenizer), encode_texts(texts, tokenizer, length=LENGTH),
        _run(folder / "run-pretrain"), batch=32, batch_tokens=None,
        trainer=_trainer(plan.pretrain_steps, seed),
        optimizer=OptimizerOptions(lr=3e-3, schedule="linear", warmup=plan.pretrain_steps // 10),
    )  # fmt: skip
    _save(model, tokenizer, pretrained)
    return Encoders(untrained, pretrained, curve)


def tagged(
    encoder: Path, labelled: Sequence[Document], test: Sequence[Document], plan: Plan, run: Path, *, seed: int
) -> list[Prediction]:
    """What a tagger finds that was trained from an encoder on a few documents."""
    import torch

    from keyphrase_plm.decoding_options import DecodeOptions
    from keyphrase_plm.predicting import predict
    from keyphrase_plm.tagger import Tagger
    from keyphrase_plm.tagger_options import TaggerOptions
    from keyphrase_plm.training import fit

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        family = Tagger.create(str(encoder), TaggerOptions(begin_weight=4, inside_weight=4))
    fit(
        family, [family.encode(document) for document in labelled], _run(run), batch=12, batch_tokens=None,
        trainer=_trainer(plan.tag_steps, seed),
        optimizer=OptimizerOptions(lr=2e-3, schedule="linear", warmup=plan.tag_steps // 8),
    )  # fmt: skip
    return list(predict(family, test, DecodeOptions()))


def written(
    encoder: Path,
    documents: Sequence[Document],
    test: Sequence[Document],
    plan: Plan,
    run: Path,
    *,
    seed: int,
) -> list[Prediction]:
    """The absent phrases that a prefix language model writes."""
    import torch

    from keyphrase_plm.decoding_options import DecodeOptions
    from keyphrase_plm.predicting import predict
    from keyphrase_plm.prefix_family import PrefixLM
    from keyphrase_plm.prefix_options import PrefixOptions
    from keyphrase_plm.training import fit

    options = PrefixOptions(max_source=LENGTH, max_target=8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        family = PrefixLM.create(str(encoder), options)
    fit(
        family, [family.encode(document._replace(present=())) for document in documents], _run(run), batch=16,
        batch_tokens=None, trainer=_trainer(plan.write_steps, seed),
        optimizer=OptimizerOptions(lr=2e-3, betas=(0.9, 0.98), warmup=20),
    )  # fmt: skip
    return list(predict(family, test, DecodeOptions()))


def f1(documents: Sequence[Document], predictions: Sequence[Prediction], kind: Any) -> float:
    """Macro F1@M of a class of phrases, in 0..1, under the convention `chan`."""
    from keyphrase_plm.sequences import source_text
    from nonet.metrics.keyphrases import score

    rows = [
        (source_text(document), [*document.present, *document.absent], list(prediction.phrases))
        for document, prediction in zip(documents, predictions, strict=True)
    ]
    return float(score(rows, "chan", ("M",)).macro(kind, "M").f1)


def highlighted(document: Document, prediction: Prediction) -> str:
    """A document in HTML with the phrases of a tagger marked; gold ones that it missed are underlined."""
    import html

    text = " ".join(f"{document.title} . {document.body}".split())
    marks = [(phrase, "mark") for phrase in prediction.phrases]
    marks += [(phrase, "u") for phrase in document.present if phrase not in prediction.phrases]
    text = html.escape(text)
    for phrase, tag in sorted(marks, key=lambda mark: -len(mark[0])):
        inner = html.escape(phrase)
        text = text.replace(f" {inner} ", f" <{tag}>{inner}</{tag}> ")
    return text


def _trainer(steps: int, seed: int) -> TrainerOptions:
    return TrainerOptions(
        steps=steps,
        seed=seed,
        accelerator="cpu",
        validate_every=0,
        checkpoint_every=0,
        log_every=10,
        clip=1.0,
    )


def _run(folder: Path) -> Any:
    """A run that keeps its numbers in a folder and prints nothing."""
    from nonet.runs import Run

    class Silent(Run):
        def say(self, text: str) -> None:
            """Nothing."""

    folder.mkdir(parents=True)
    return Silent(folder, "keyphrase_plm", "demo", writes=True)


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    from nonet.training.hub import save_folder

    save_folder(model, tokenizer, folder, "# An encoder of the demo\n")
