"""The cards of finished models: what they were made of, how they score, how to load them."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nonet.options import dump
from nonet.training.model_card import ModelCard, Score

if TYPE_CHECKING:
    from pegasus.commands.finetune import Options as FinetuneOptions
    from pegasus.commands.pretrain import Options as PretrainOptions
    from pegasus.model import Summarizer

LOAD = """
from pegasus import DecodeOptions, summarize_texts

for summary in summarize_texts("FOLDER", ["A document."], DecodeOptions(max_length=64)):
    print(summary)

# or with transformers alone
from transformers import AutoTokenizer, PegasusForConditionalGeneration

model = PegasusForConditionalGeneration.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
"""

POSITIONS = (
    "Positions follow the original's sinusoids; transformers takes them from the table, up to {n} tokens."
)


def pretraining_card(
    options: "PretrainOptions", model: "Summarizer", scores: dict[str, float | None], verdict: str
) -> str:
    """README.md of a pre-trained model."""
    corpus = str(options.data) if options.data else ", ".join(map(str, options.texts))
    return ModelCard(
        title="PEGASUS, pre-trained on gap sentences",
        what=(
            "An encoder-decoder that learnt to write the sentences cut out of a document (Zhang et al. 2020) "
            "and is to be fine-tuned on pairs; by itself it writes sentences, not summaries."
        ),
        tags=("summarization", "pegasus", "gap-sentence-generation"),
        base=options.init,
        data=f"Gap sentences of {corpus}.",
        options=dump(options),
        scores=_scores(scores, "held-out documents of the corpus"),
        limits=(verdict, _positions(model)),
        load=LOAD,
    ).text()


def finetuning_card(options: "FinetuneOptions", model: "Summarizer", scores: dict[str, Any]) -> str:
    """README.md of a fine-tuned model."""
    pairs = ", ".join(map(str, options.train))
    first = f"the first {options.limit:,} pairs of " if options.limit else ""
    return ModelCard(
        title="PEGASUS, fine-tuned for summarisation",
        what="An encoder-decoder that writes abstractive summaries of documents like those it learnt from.",
        tags=("summarization", "pegasus"),
        base=options.init,
        data=f"Fine-tuned on {first}{pairs}.",
        options=dump(options),
        scores=_scores(scores, ", ".join(map(str, options.val)) or "the last training batches"),
        limits=(
            "Summaries may state what the document does not: check names and numbers.",
            f"Documents beyond {options.lengths.max_input} tokens are cut.",
            _positions(model),
        ),
        load=LOAD.replace("max_length=64", f"beams={asdict(options.decode)['beams']}, max_length=64"),
    ).text()


def _scores(scores: dict[str, Any], data: str) -> list[Score]:
    return [Score(name, float(value), data=data) for name, value in scores.items() if value is not None]


def _positions(model: "Summarizer") -> str:
    if getattr(model.config, "position_style", None) == "tf":
        return POSITIONS.format(n=model.config.max_position_embeddings)
    return "Positions follow transformers' sinusoids."
