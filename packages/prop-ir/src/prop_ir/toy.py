"""A small made-up collection of notices, with queries and judgements, for the demo and for tests (ours).

Each notice is about one event at one place. It says some of the words of its event several times, some of its
place's, a word or two of other events, and many words that say nothing. A query asks for an event at a place;
a notice about both is relevant (2), one about the event elsewhere a little (1).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from prop_ir.documents import Document

EVENTS = {
    "storm": "storm wind gale thunder rain lightning gusts hail",
    "fire": "fire smoke flames sparks ashes brigade hoses embers",
    "flood": "flood water dykes pumps mud sandbags current boats",
    "strike": "strike wages pickets union talks overtime banners workers",
    "feast": "feast music dancers lanterns drums costumes parade songs",
    "election": "election votes ballots mayor council speeches posters parties",
    "frost": "frost ice snow pipes sledges icicles salt shovels",
    "harvest": "harvest grain apples wagons barns sheaves orchards sickles",
    "theft": "theft burglar jewels police locks footprints alarm ladder",
    "launch": "launch ship keel crew anchor sails champagne slipway",
    "lecture": "lecture professor slides comets telescope planets audience questions",
    "match": "match goals referee penalty striker keeper whistle league",
}
PLACES = {
    "harbour": "harbour quay cranes gulls",
    "market": "market stalls baskets scales",
    "school": "school pupils desks blackboard",
    "station": "station platform trains signals",
    "museum": "museum statues paintings galleries",
    "forest": "forest pines clearing deer",
    "castle": "castle towers moat drawbridge",
    "bridge": "bridge arches railings toll",
}
PLAIN = (
    "yesterday morning evening people said many new old good long early late first last small large town "
    "street house door window road hill day night week month year man woman child friend letter paper "
    "word news story time place way hand head side part end name number line light sound voice room table "
    "glass cup bread coat came went saw heard told asked found kept left took gave made held began stayed "
    "again often never always almost together slowly quickly quietly nearby above below behind between "
).split()
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


class ToyCollection(NamedTuple):
    """Notices, queries and judgements."""

    documents: list[Document]
    topics: dict[str, str]
    """query id -> query"""
    qrels: dict[str, dict[str, int]]
    """query id -> document id -> 2, 1 or 0"""


def collection(documents: int = 600, queries: int = 60, *, seed: int = 0) -> ToyCollection:
    """A made-up collection; notice i depends on the seed and i alone, and so does query i.

    Args:
        documents: how many notices.
        queries: how many queries, at most 96 different ones.
        seed: of all draws.
    """
    notices, about = [], []
    for i in range(documents):
        text, event, place = _notice(np.random.default_rng([seed, 0, i]))
        notices.append(Document(f"N{i:04d}", text, f"made-up notice {i + 1}"))
        about.append((event, place))
    pairs = [(event, place) for event in EVENTS for place in PLACES]
    order = np.random.default_rng([seed, 1]).permutation(len(pairs))
    topics, qrels = {}, {}
    for i, number in enumerate(order[:queries].tolist()):
        event, place = pairs[number]
        draw = np.random.default_rng([seed, 2, i])
        words = [*_some(draw, EVENTS[event].split(), 2), *_some(draw, PLACES[place].split(), 1)]
        topics[f"Q{i + 1}"] = " ".join(words)
        judged = {}
        for notice, (its_event, its_place) in zip(notices, about, strict=True):
            if its_event == event:
                judged[notice.id] = 2 if its_place == place else 1
        qrels[f"Q{i + 1}"] = judged
    return ToyCollection(notices, topics, qrels)


def write_collection(toy: ToyCollection, folder: Path) -> None:
    """Write `docs.jsonl`, `topics.tsv` and `qrels.txt`, as users have them."""
    import json

    from nonet.files import write_text

    rows = [json.dumps({"id": note.id, "title": "", "text": note.text}) for note in toy.documents]
    write_text(folder / "docs.jsonl", "".join(row + "\n" for row in rows))
    write_text(folder / "topics.tsv", "".join(f"{number}\t{text}\n" for number, text in toy.topics.items()))
    lines = [f"{query} 0 {note} {grade}\n" for query, j in toy.qrels.items() for note, grade in j.items()]
    write_text(folder / "qrels.txt", "".join(lines))


def write_encoder(
    folder: Path, *, layers: int = 2, width: int = 64, heads: int = 4, positions: int = 128, seed: int = 0
) -> Path:
    """Write an untrained BERT with a vocabulary of the toy's words (and letters), as a model folder.

    Its weights are drawn so that a minute is enough to learn from them: those of products with a standard
    deviation of width^-0.5, and in every head a piece begins by attending to pieces like itself (keys are
    queries), which an encoder of millions of parameters has learnt from its own pre-training.

    Args:
        folder: where; made if it is missing.
        layers: of the encoder.
        width: of the hidden states; feed-forward layers are four times as wide.
        heads: of attention.
        positions: longest input, in pieces.
        seed: of the initial weights.

    Returns:
        The folder.
    """
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    from nonet.training.hub import save_folder

    words = sorted({*PLAIN, *" ".join([*EVENTS.values(), *PLACES.values()]).split()})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", *LETTERS]
    pieces += [f"##{letter}" for letter in LETTERS] + [word for word in words if word not in LETTERS]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(
        ("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"])
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=positions,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * width, max_position_embeddings=positions, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, initializer_range=width**-0.5,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = BertModel(config)
        table = model.embeddings
        for embedding, deviation in (
            (table.word_embeddings, 1.0), (table.token_type_embeddings, 0.7), (table.position_embeddings, 0.1)
        ):  # fmt: skip
            embedding.weight.normal_(std=deviation)
        for layer in model.encoder.layer:
            attention = layer.attention.self
            attention.query.weight.mul_(1.5)
            attention.key.weight.copy_(attention.query.weight)
    return save_folder(
        model, tokenizer, folder, "An untrained encoder for made-up notices.\n", overwrite=True
    )


def _notice(draw: np.random.Generator) -> tuple[str, str, str]:
    event = list(EVENTS)[draw.integers(len(EVENTS))]
    place = list(PLACES)[draw.integers(len(PLACES))]
    words = _some(draw, EVENTS[event].split(), int(draw.integers(3, 6)))
    words += _some(draw, words, int(draw.integers(1, 4)))
    words += _some(draw, PLACES[place].split(), int(draw.integers(2, 4)))
    other = list(EVENTS.values())[draw.integers(len(EVENTS))]
    words += _some(draw, other.split(), int(draw.integers(0, 3)))
    words += _some(draw, PLAIN, int(draw.integers(12, 24)))
    words = [words[i] for i in draw.permutation(len(words)).tolist()]
    cut = len(words) // 2
    return f"{' '.join(words[:cut])}. {' '.join(words[cut:])}.".capitalize(), event, place


def _some(draw: np.random.Generator, words: list[str], count: int) -> list[str]:
    return [words[i] for i in draw.permutation(len(words))[:count].tolist()]
