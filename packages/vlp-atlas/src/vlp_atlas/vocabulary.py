"""The words that the catalogue's fields may hold, and its kinds of records (Chen et al. 2023 for the styles).

Standard library only: queries need them without pydantic.
"""

from typing import Literal

SCHEMA_VERSION = "1.0.0"
KINDS = (
    "sources", "papers", "models", "checkpoints", "objectives", "datasets", "tasks", "metrics", "results",
    "aliases",
)  # fmt: skip
"""of records, as files and lists are named"""

Kind = Literal[
    "primary-paper", "official-repo", "model-card", "leaderboard", "survey-table", "survey-figure",
    "third-party-paper", "third-party-repo", "reproduction", "personal-memory",
]  # fmt: skip
"""where a fact was read, the best first"""
Confidence = Literal["verified", "secondary", "digitised", "unverified", "disputed"]
Missing = Literal["unknown", "not-reported", "not-applicable"]
Modality = Literal["image", "video", "text", "audio", "table", "layout", "point-cloud"]
Domain = Literal[
    "general", "fashion", "medical", "document", "navigation", "dialog", "product", "chart", "ego-video"
]  # fmt: skip
VisionFeatures = Literal["od-rf", "cnn-gf", "vit-pf", "frame-2d", "clip-3d", "vq-token", "none"]
TextFeatures = Literal["embedding", "transformer-encoder", "rnn", "none"]
Fusion = Literal["single-stream", "dual-stream", "dual-encoder", "mixture-of-experts", "hybrid", "none"]
Codec = Literal["encoder-only", "encoder-decoder", "decoder-only"]
Convention = Literal["total", "trainable", "excl-embeddings", "active-per-token"]
Setting = Literal["fine-tuned", "zero-shot", "few-shot", "linear-probe"]
Unit = Literal["percent", "fraction", "x100", "degrees", "metres", "count", "none"]
ObjectiveGroup = Literal[
    "completion", "matching", "temporal", "particular", "generation", "knowledge", "contrastive-local",
    "multi-view",
]  # fmt: skip
TaskGroup = Literal["generative", "classification", "regression", "retrieval", "other"]
AS_LISTED = "from the acronyms as listed"
"""the note of objectives that were derived from a list of acronyms, as a survey's table has it"""
