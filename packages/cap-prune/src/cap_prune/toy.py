"""A made-up task that a tiny BERT learns in seconds: tests and the demo use it (ours).

A sentence says of a thing that it is good or bad, in one of several words; "not" turns a word round, and in
half of the sentences another thing comes first, of which the opposite is said: what follows "but" decides.
What kind of thing it is about (an animal, an instrument, ...) has nothing to do with the label: it stands for
what an encoder knows in general and may lose when it is pruned for one task.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from nonet.data.batching import generator
from nonet.files import write_text

LABELS = ("negative", "positive")
KINDS = {
    "animal": ("lion", "horse", "eagle", "whale", "tiger", "mouse"),
    "instrument": ("piano", "violin", "trumpet", "drum", "flute", "harp"),
    "vehicle": ("truck", "ship", "train", "bicycle", "tram", "canoe"),
    "plant": ("oak", "fern", "rose", "wheat", "tulip", "moss"),
}
WORDS = (
    ("bad", "dull", "ugly", "weak", "slow", "poor"),
    ("good", "bright", "pretty", "strong", "quick", "fine"),
)
"""adjectives by label"""
OPENINGS = ("the", "this", "here the", "well , the", "they say the", "to me the")
CLOSINGS = (".", "today .", "as we saw .", "to be fair .", "in the end .")
MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LENGTH = 24
"""pieces of the longest sentence, and some to spare"""


class Sentence(NamedTuple):
    """One example."""

    text: str
    label: int
    """0 negative, 1 positive"""
    kind: int
    """which of `KINDS` it is about, 0..3"""
    word: int
    """the label of the last adjective by itself, whatever stands before it"""


def sentences(n: int, seed: int = 0) -> list[Sentence]:
    """Made-up examples, the same for the same seed; both labels and all kinds are equally likely.

    Args:
        n: how many.
        seed: of the choices; example k is the same for every `n` above k.
    """
    return [_sentence(number, seed) for number in range(n)]


def vocabulary() -> list[str]:
    """Every word, after the special pieces."""
    words = {"is", "was", "but", "not", ","}
    words.update(word for names in (*KINDS.values(), *WORDS) for word in names)
    words.update(word for text in (*OPENINGS, *CLOSINGS) for word in text.split())
    return [*MARKS, *sorted(words)]


def tokenizer(positions: int = LENGTH) -> Any:
    """A `PreTrainedTokenizerFast` for whole words, with BERT's special pieces as 0..4."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {word: number for number, word in enumerate(vocabulary())}
    backend = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(list(MARKS))
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(mark, ids[mark]) for mark in ("[CLS]", "[SEP]")],
    )  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=positions,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def new_bert(
    *,
    layers: int = 2,
    width: int = 32,
    heads: int = 4,
    neurons: int = 64,
    labels: tuple[str, ...] = LABELS,
    positions: int = 64,
    dropout: float = 0.0,
    seed: int = 0,
) -> Any:
    """A `BertForSequenceClassification` for the toy words with random weights, in evaluation mode.

    Args:
        layers: of the encoder.
        width: of hidden states.
        heads: of a layer; they divide the width.
        neurons: of a layer's feed-forward part.
        labels: of the classifier, in order.
        positions: pieces of the longest input.
        dropout: share dropped in training.
        seed: of the weights; the caller's random numbers stay as they were.
    """
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=len(vocabulary()), hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=neurons, max_position_embeddings=positions, hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout, pad_token_id=0, id2label=dict(enumerate(labels)),
        label2id={name: number for number, name in enumerate(labels)}, initializer_range=0.5 * width**-0.5,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BertForSequenceClassification(config).eval()


def write_encoder(folder: Path, **shape: Any) -> Path:
    """Save a new tiny BERT and its tokenizer as a model folder; gives the folder."""
    from nonet.training.hub import save_folder

    model = new_bert(**shape)
    words = tokenizer(model.config.max_position_embeddings)
    return save_folder(model, words, folder, "# A tiny BERT with random weights\n")


def write_task(folder: Path, train: int = 400, dev: int = 100, seed: int = 0, *, what: str = "label") -> Path:
    """Write `train.jsonl` and `dev.jsonl` with `text` and `label`; no sentence number is in both.

    Args:
        folder: where.
        train: examples to learn from.
        dev: examples to score on.
        seed: of the choices.
        what: `"label"`, or `"general"` for another task: what kind of thing it is about, and whether the last
            adjective is a good one by itself, as one label of eight.

    Returns:
        The folder.
    """
    made = sentences(train + dev, seed)
    for file, part in (("train.jsonl", made[:train]), ("dev.jsonl", made[train:])):
        rows = (
            {"text": each.text, "label": LABELS[each.label] if what == "label" else general(each)}
            for each in part
        )
        write_text(folder / file, "".join(json.dumps(row) + "\n" for row in rows))
    return folder


def general(sentence: Sentence) -> str:
    """What `write_task` calls general knowledge of a sentence, such as `animal good`."""
    return f"{tuple(KINDS)[sentence.kind]} {WORDS[sentence.word][0]}"


def _sentence(number: int, seed: int) -> Sentence:
    random = generator(seed, "cap-toy", number)

    def draw(options: tuple[str, ...]) -> str:
        return options[int(random.integers(len(options)))]

    kind, label = int(random.integers(len(KINDS))), int(random.integers(2))
    things = KINDS[tuple(KINDS)[kind]]

    def said(side: int) -> tuple[str, int]:
        """That a thing is of a side, by its own word or by "not" and another's; and that word's side."""
        own = 1 - side if random.integers(4) == 0 else side
        return f"{draw(things)} {draw(('is', 'was'))} {'not ' * (own != side)}{draw(WORDS[own])}", own

    first = f"{draw(OPENINGS)} {said(1 - label)[0]} but " if random.integers(2) else ""
    last, word = said(label)
    return Sentence(f"{first}{draw(OPENINGS)} {last} {draw(CLOSINGS)}", label, kind, word)
