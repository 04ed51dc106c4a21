"""The card of a pre-trained or converted model: what it was made of, how it scores, how to load it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nonet.options import dump
from nonet.training.model_card import ModelCard, Score

if TYPE_CHECKING:
    from prop_ir.commands.pretrain import Options

LOAD = """
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModelForSequenceClassification.from_pretrained("FOLDER").eval()
pair = tokenizer("a query", "a document", truncation="only_second", return_tensors="pt")
with torch.no_grad():
    print(model(**pair).logits.item())  # the higher, the better

# or with sentence-transformers, which gives the same scores
from sentence_transformers import CrossEncoder

print(CrossEncoder("FOLDER").predict([("a query", "a document")]))
"""

LIMITS = (
    "It ranks candidates of a first stage; scores of different queries do not compare.",
    "Without fine-tuning it has seen no real query: compare with BM25 on your own judgements before use.",
)


def pretraining_card(options: "Options", scores: Mapping[str, float], verdict: str, data: str) -> str:
    """README.md of a pre-trained re-ranker.

    Args:
        options: of the run.
        scores: numbers by name.
        verdict: one line on how far the model came.
        data: what it was trained on.
    """
    return ModelCard(
        title="Re-ranker pre-trained with representative words",
        what=(
            "A cross-encoder that learnt, from documents alone, which of two word sets is likelier under a "
            "document's language model (PROP, Ma et al. 2021), together with masked words. It is the start "
            "for fine-tuning on judged queries, and re-ranks without any."
        ),
        tags=("text-ranking", "prop", "cross-encoder"),
        base=str(options.init),
        data=data,
        options=dump(options),
        scores=[Score(name, value, data="held-out documents") for name, value in scores.items()],
        limits=(verdict, *LIMITS),
        load=LOAD,
    ).text()


def converted_card(source: str, facts: Mapping[str, str]) -> str:
    """README.md of a re-ranker from the original's checkpoint."""
    return ModelCard(
        title="Re-ranker from a checkpoint of PROP's released code",
        what=f"A cross-encoder pre-trained with representative words (PROP), converted from {source}.",
        tags=("text-ranking", "prop", "cross-encoder"),
        options=dict(facts),
        limits=LIMITS,
        load=LOAD,
    ).text()
