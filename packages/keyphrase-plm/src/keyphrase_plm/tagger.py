"""A tagger of present phrases: an encoder and a label for each word (Wu et al. 2022, section on KPE).

Differences from the original (DeepKPG `sequence_tagging`): three labels at the first piece of each word and
nothing elsewhere, where the original has a fourth label for padding and special pieces, which its classifier
may give to words, and through which its CRF runs; padding is masked in decoding too; words are found through
the tokenizer's `word_ids`, so that one without pieces (a zero-width space) shifts nothing; and phrases have
scores. Its labels of overlapping phrases are `labels="compat"`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from keyphrase_plm.crf_head import CrfHead
from keyphrase_plm.decoding_options import DecodeOptions
from keyphrase_plm.documents import Document, Prediction
from keyphrase_plm.families import Family, Row
from keyphrase_plm.loading import NOTE, VERSION
from keyphrase_plm.padding import pad
from keyphrase_plm.presence import stemmer
from keyphrase_plm.sequences import source_words
from keyphrase_plm.tagger_options import TaggerOptions
from keyphrase_plm.tagger_parts import load_classifier, most_pieces, read_parts, special_ids, tiny_classifier
from keyphrase_plm.tags import LABELS, Scheme, count_present, label_words, spans_of
from nonet.errors import UserError
from nonet.files import write_json

# Shapes: B documents, P pieces, W words, C labels, D width.

CRF_FILE = "crf.safetensors"
IGNORED = -100


class Tagger(Family):
    """A token classifier of transformers over words, with or without a CRF.

    Args:
        model: of `AutoModelForTokenClassification`, with the labels O, B and I.
        tokenizer: fast; one that marks spaces (RoBERTa's) with `add_prefix_space=True`.
        crf: None: each word's label alone.
        max_words: longest text in words.
        max_pieces: longest input in pieces with the special ones; None: the model's positions, at most 512.
        labels: `"longest"` or `"compat"`: which of overlapping phrases are labelled.
        begin_weight: weight of B in the loss, where O weighs 1.
        inside_weight: weight of I.
        stem: name of the stemmer by which gold phrases are found in the text.

    Raises:
        UserError: the model has other labels, or fewer positions than `max_pieces`.
    """

    name: ClassVar[str] = "tag"

    def __init__(
        self, model: Any, tokenizer: Any, *, crf: CrfHead | None = None, max_words: int = 510,
        max_pieces: int | None = None, labels: Scheme = "longest", begin_weight: float = 1.0,
        inside_weight: float = 1.0, stem: str = "porter",
    ) -> None:  # fmt: skip
        super().__init__()
        if model.config.num_labels != len(LABELS):
            raise UserError(f"the model has {model.config.num_labels} labels, not the {len(LABELS)} {LABELS}")
        limit = most_pieces(model.config)
        if max_pieces is not None and max_pieces > limit:
            raise UserError(f"max_pieces is {max_pieces}, but the model has {limit} positions")
        self.model, self.tokenizer, self.crf = model, tokenizer, crf
        self.max_words, self.max_pieces = max_words, max_pieces or min(512, limit)
        self.labels, self.stem = labels, stem
        self.begin_weight, self.inside_weight = begin_weight, inside_weight
        self.front, self.back = special_ids(tokenizer)
        if self.max_pieces <= len(self.front) + len(self.back):
            raise UserError(
                f"max_pieces is {self.max_pieces}, which leaves no room between the special pieces"
            )
        self._stem = stemmer(stem)

    # documents

    def encode(self, document: Document, *, gold: bool = True) -> Row:
        """A document as pieces, its words' first pieces and, with `gold`, their labels.

        The row has `ids` (P,), `first` (W,) the place of each word's first piece in `ids`, `words` (W,) the
        word's number in the text, and `labels` (W,). Words without pieces are in none of them.
        """
        words = source_words(document)
        front, back = self.front, self.back
        coded = self.tokenizer(
            words[: self.max_words], is_split_into_words=True, add_special_tokens=False, verbose=False
        )
        word_of, room = coded.word_ids(), self.max_pieces - len(front) - len(back)
        read = min(len(words), self.max_words) if len(word_of) <= room else word_of[room - 1] + 1
        ids = np.array([*front, *coded["input_ids"][:room], *back], np.int32)
        owners = np.array(word_of[:room], np.int32)
        first = np.flatnonzero(np.diff(owners, prepend=-1)).astype(np.int32)
        row: Row = {
            "ids": ids, "first": first + np.int32(len(front)), "words": owners[first],
            "size": (len(ids), len(first)), "cut": len(words) - read, "lost": 0,
        }  # fmt: skip
        if gold:
            seen = [words[at] for at in owners[first]]
            row["labels"] = np.array(
                label_words(seen, document.present, self._stem, scheme=self.labels), np.int32
            )
            if row["cut"]:
                whole = count_present(words, document.present, self._stem)
                row["lost"] = max(0, whole - count_present(seen, document.present, self._stem))
        return row

    def collate(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """`ids` and `mask` (B, P), `first` and `words` (B, W) with True at words, and `labels` (B, W)."""
        batch = {
            "ids": pad([row["ids"] for row in rows], self.tokenizer.pad_token_id)[:, : self.max_pieces],
            "mask": pad([np.ones(len(row["ids"]), np.int32) for row in rows], 0)[:, : self.max_pieces],
            "first": pad([row["first"] for row in rows], 0),
            "words": pad([np.ones(len(row["first"]), np.int32) for row in rows], 0).bool(),
        }
        if "labels" in rows[0]:
            batch["labels"] = pad([row["labels"] for row in rows], IGNORED)
        return batch

    # loss and labels

    def scores(self, batch: dict[str, Tensor]) -> Tensor:
        """(B, W, C) float32: what the classifier says of each word's first piece; padding is anything."""
        logits_BPC = self.model(input_ids=batch["ids"], attention_mask=batch["mask"]).logits
        first_BWC = batch["first"][:, :, None].expand(-1, -1, logits_BPC.shape[2])
        return logits_BPC.gather(1, first_BWC).float()

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum of the weighted cross-entropy over words, in nats, and the number of words.

        With a CRF: sum of the documents' negative log-likelihoods, and the number of documents.
        """
        scores, labels = self.scores(batch), batch["labels"]
        if self.crf is not None:
            loss = self.crf.loss(scores, labels, batch["words"])
            return loss.sum(), batch["words"].new_ones((), dtype=torch.int64) * len(loss)
        weight = scores.new_tensor([1.0, self.begin_weight, self.inside_weight])
        loss = F.cross_entropy(
            scores.flatten(0, 1), labels.flatten(), weight, ignore_index=IGNORED, reduction="sum"
        )
        return loss, (labels != IGNORED).sum()

    @torch.inference_mode()
    def predict(
        self, documents: Sequence[Document], rows: Sequence[Row], options: DecodeOptions
    ) -> list[Prediction]:
        """The phrases that the labels mean, each spelling once, with the mean log-probability of its labels.

        `options.order` is "text" (the original's) or "score"; a tagger has no other knob.

        Raises:
            UserError: the options ask for beams or draws.
        """
        if options.mode != "greedy":
            raise UserError(
                f"mode is {options.mode}, but a tagger labels words and writes nothing: leave it out"
            )
        if not rows:
            return []
        was_training = self.training
        self.eval()
        try:
            device = next(self.model.parameters()).device
            batch = {name: part.to(device) for name, part in self.collate(rows).items()}
            scores_BWC = self.scores(batch)
            if self.crf is not None:
                labels_BW, log_probs_BWC = self.crf.decode(scores_BWC, batch["words"])
            else:
                log_probs_BWC = scores_BWC.log_softmax(2)
                labels_BW = scores_BWC.argmax(2)
            chosen_BW = log_probs_BWC.gather(2, labels_BW.clamp_min(0)[:, :, None]).squeeze(2)
            found = zip(documents, rows, labels_BW.tolist(), chosen_BW.tolist(), strict=True)
            return [self._prediction(*each, by_score=options.order == "score") for each in found]
        finally:
            self.train(was_training)

    def _prediction(
        self, document: Document, row: Row, labels: list[int], log_probs: list[float], *, by_score: bool
    ) -> Prediction:
        words, places = source_words(document), row["words"].tolist()
        found: dict[str, tuple[float, tuple[int, int]]] = {}
        for first, stop in spans_of(labels[: len(places)]):
            phrase = " ".join(words[at] for at in places[first:stop])
            score = sum(log_probs[first:stop]) / (stop - first)
            before, span = found.get(phrase, (score, (places[first], places[stop - 1] + 1)))
            found[phrase] = max(before, score), span
        if by_score:
            found = dict(sorted(found.items(), key=lambda item: -item[1][0]))
        scores = tuple(score for score, _ in found.values())
        spans = tuple(span for _, span in found.values())
        return Prediction(document.id, tuple(found), scores, spans, int(row["cut"]))

    # folders

    @classmethod
    def create(cls, init: str, options: TaggerOptions) -> "Tagger":
        """A tagger to train, from an encoder's weights; its classifier begins at random.

        Args:
            init: folder or hub name of an encoder, such as a BERT or RoBERTa.
            options: lengths, labels, CRF.

        Raises:
            UserError: there is no such encoder, or transformers has no token classifier of its kind.
        """
        model, tokenizer = load_classifier(init)
        return cls(
            model, tokenizer, crf=CrfHead(len(LABELS)) if options.crf else None, max_words=options.max_words,
            max_pieces=options.max_pieces, labels=options.labels, begin_weight=options.begin_weight,
            inside_weight=options.inside_weight, stem=options.stemmer,
        )  # fmt: skip

    @classmethod
    def tiny(
        cls, tokenizer: Any, *, seed: int = 0, layers: int = 2, width: int = 32, heads: int = 2,
        positions: int = 128, dropout: float = 0.0, crf: bool = False, **options: Any,
    ) -> "Tagger":  # fmt: skip
        """A BERT with random weights, for tests and made-up data.

        Args:
            tokenizer: of BERT's kind.
            seed: of the weights.
            layers: of the encoder.
            width: of the hidden states.
            heads: of attention.
            positions: longest input in pieces.
            dropout: in training.
            crf: with one.
            **options: for the constructor.
        """
        model = tiny_classifier(
            tokenizer,
            seed=seed,
            layers=layers,
            width=width,
            heads=heads,
            positions=positions,
            dropout=dropout,
        )
        return cls(model, tokenizer, crf=CrfHead(len(LABELS)) if crf else None, **options)

    def save(self, folder: Path) -> None:
        """Write what transformers reads as a token classifier, the CRF's weights, and `keyphrase.json`."""
        from safetensors.torch import save_file

        folder = Path(folder)
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        if self.crf is not None:
            weights = {name: part.detach().cpu().contiguous() for name, part in self.crf.state_dict().items()}
            save_file(weights, folder / CRF_FILE)
        kept = "max_words", "max_pieces", "labels", "begin_weight", "inside_weight", "stem"
        values = {name: getattr(self, name) for name in kept}
        head = {"family": self.name, "version": VERSION, "crf": self.crf is not None}
        write_json(folder / NOTE, head | values)

    @classmethod
    def load(cls, folder: str | Path) -> "Tagger":
        """Read a folder that `save` has written.

        Raises:
            UserError: a file is missing or damaged; it is named.
        """
        model, tokenizer, values, weights = read_parts(Path(folder), crf_file=CRF_FILE)
        crf = None
        if weights is not None:
            crf = CrfHead(len(LABELS))
            try:
                crf.load_state_dict(weights)
            except RuntimeError as error:
                reason = " ".join(str(error).split())
                raise UserError(f"{Path(folder) / CRF_FILE}: not the CRF of this model: {reason}") from error
        return cls(model, tokenizer, crf=crf, **values)
