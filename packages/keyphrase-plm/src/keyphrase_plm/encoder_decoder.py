"""What the two kinds of encoder-decoder share: rows, loss, writing, and the likelihood of a phrase.

Targets are the phrases in one string (one2seq, Wu et al. 2022) or one phrase at a time (one2one, which the
decode-select method of Wu et al. 2023 scores with). The loss is the plain cross-entropy of the target pieces.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from keyphrase_plm.decoding_options import DecodeOptions
from keyphrase_plm.documents import Document, Prediction
from keyphrase_plm.families import Family, Row
from keyphrase_plm.loading import NOTE, VERSION, read_note
from keyphrase_plm.padding import pad
from keyphrase_plm.sequences import SEP, source_text, source_words, target_text
from keyphrase_plm.sequences import encoded as encoded_phrase
from keyphrase_plm.spelling import Spelling
from keyphrase_plm.step_decoders import step_decoder
from keyphrase_plm.written_phrases import PhraseReader
from nonet.errors import UserError
from nonet.files import write_json
from nonet.generation.search import Draws, Written, beam_search, follow
from nonet.kernels.linear_cross_entropy import linear_cross_entropy, token_losses
from nonet.training.hub import no_bars

# Shapes: B documents, K sequences of each, L source pieces, T target pieces, D width, V vocabulary.

IGNORED = -100
AT_ONCE = 128  # phrases whose likelihood is computed together


class EncoderDecoder(Family):
    """An encoder-decoder of transformers with its tokenizer and lengths.

    Args:
        model: see `step_decoders.step_decoder`.
        tokenizer: fast, of transformers.
        start: id that the decoder starts from.
        end: id that ends a target.
        front: ids in front of a target; BART's tokenizer writes one there.
        prefix: text in front of the source.
        max_source: longest source, in pieces with the special ones.
        max_target: longest target in training, in pieces with the special ones.
        max_output: longest output.
        targets: `"one2seq"` or `"one2one"`.
        label_smoothing: share of the target's probability that is spread over the vocabulary.
        between: text between title and body of a source.
    """

    notes: ClassVar[tuple[str, ...]] = (
        "prefix", "between", "max_source", "max_target", "max_output", "targets", "label_smoothing",
    )  # fmt: skip

    def __init__(
        self, model: Any, tokenizer: Any, *, start: int, end: int, front: Sequence[int] = (),
        prefix: str = "", max_source: int, max_target: int, max_output: int, targets: str = "one2seq",
        label_smoothing: float = 0.0, between: str = SEP,
    ) -> None:  # fmt: skip
        super().__init__()
        if targets not in ("one2seq", "one2one"):
            raise UserError(f"targets is {targets!r}; choose one2seq or one2one")
        self.model, self.tokenizer = model, tokenizer
        self.start, self.end, self.front = start, end, [int(each) for each in front]
        self.pad = int(tokenizer.pad_token_id)
        self.prefix, self.between, self.targets = prefix, between, targets
        self.label_smoothing = label_smoothing
        self.max_source, self.max_target, self.max_output = max_source, max_target, max_output
        self._reader = PhraseReader(tokenizer)
        self.source_front, self.source_back = special_ids(tokenizer)

    @property
    def reader(self) -> PhraseReader:
        """Finds phrases in pieces; made anew when the tokenizer has got more pieces."""
        if len(self._reader.separators) != len(self.tokenizer):
            self._reader = PhraseReader(self.tokenizer)
        return self._reader

    # rows

    def encode(self, document: Document, *, gold: bool = True) -> Row:
        """Arrays `source` (L,) and, with gold, `target` (all targets, one behind the other) and `ends` (where
        each ends); a document without phrases has the empty target, or with one2one none.
        """
        ids = self._ids(source_text(document, prefix=self.prefix, between=self.between))
        room = self.max_source - len(self.source_front) - len(self.source_back)
        source = [*self.source_front, *ids[:room], *self.source_back]
        row: Row = {"source": np.array(source, np.int32), "cut": max(0, len(ids) - room), "lost": 0}
        if not gold:
            return row | {"size": (len(source), 1)}
        texts = [target_text(document)] if self.targets == "one2seq" else one_by_one(document)
        targets, lost = [], 0
        for text in texts:
            target, missed = self.target(text)
            targets.append(target)
            lost += missed
        longest = max(map(len, targets), default=1)
        return row | {
            "target": np.array([id for target in targets for id in target], np.int32),
            "ends": np.cumsum([len(target) for target in targets], dtype=np.int32),
            "lost": lost,
            "size": (len(source), longest),
        }

    def target(self, text: str, *, limit: int | None = None) -> tuple[list[int], int]:
        """Ids of a target string with the special ones, and how many phrases did not fit.

        Args:
            text: phrases as they are written.
            limit: most pieces; without it `max_target`.
        """
        room = (self.max_target if limit is None else limit) - len(self.front) - 1
        ids, lost = self.reader.fit(self._ids(text), room)
        return [*self.front, *ids, self.end], lost

    def example(self, row: Row, random: np.random.Generator) -> Row:
        """With one2one, the source with one of its phrases; else the row itself."""
        ends = row["ends"]
        if len(ends) < 2:
            return row
        which = int(random.integers(len(ends)))
        first = int(ends[which - 1]) if which else 0
        target = row["target"][first : int(ends[which])]
        return row | {"target": target, "ends": np.array([len(target)], np.int32)}

    def collate(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """`source` and `mask` (B, L) int64, and `labels` (B, T) int64 with -100 behind the end."""
        batch = {
            "source": pad([row["source"] for row in rows], self.pad),
            "mask": pad([np.ones(len(row["source"]), np.int32) for row in rows], 0),
        }
        if "target" in rows[0]:
            batch["labels"] = pad([row["target"] for row in rows], IGNORED)
        return batch

    # loss

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum of the cross-entropy over target pieces, in nats, and their number."""
        labels = batch["labels"]
        hidden = self.decode(self.encoded(batch["source"], batch["mask"]), batch["mask"], labels)
        weight, bias = self.output()
        loss = linear_cross_entropy(
            hidden, weight, labels, bias=bias, label_smoothing=self.label_smoothing, reduction="sum"
        )
        return loss, (labels != IGNORED).sum()

    def encoded(self, source: Tensor, mask: Tensor) -> Tensor:
        """Source states (B, L, D) as the decoder sees them.

        Args:
            source: (B, L) int64.
            mask: (B, L), 1 at pieces and 0 at padding.
        """
        return self.model.get_encoder()(input_ids=source, attention_mask=mask)[0]  # type: ignore[no-any-return]

    def decode(self, encoded: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        """What goes into the output layer at each position of the labels, with the labels before it given.

        Args:
            encoded: (B, L, D).
            mask: (B, L).
            labels: (B, T) int64, -100 behind the end.

        Returns:
            (B, T, D).
        """
        inputs = labels.new_full(labels.shape, self.start)
        inputs[:, 1:] = labels[:, :-1]
        return self.hidden(inputs.masked_fill_(inputs == IGNORED, self.pad), encoded, mask)

    @abstractmethod
    def hidden(self, inputs: Tensor, encoded: Tensor, mask: Tensor) -> Tensor:
        """What goes into the output layer, (B, T, D), for decoder inputs (B, T)."""

    @abstractmethod
    def output(self) -> tuple[Tensor, Tensor | None]:
        """Weight (V, D) and bias (V,) of the output layer."""

    # writing

    def predict(
        self, documents: Sequence[Document], rows: Sequence[Row], options: DecodeOptions
    ) -> list[Prediction]:
        """Phrases of all sequences of a document, each once, with its best score."""
        options.longest(self.max_output)
        if not rows:
            return []
        written = self.write(rows, options, keys=[document.id for document in documents])
        predictions = []
        for document, row, tokens, log_probs in zip(
            documents, rows, written.tokens.tolist(), written.log_probs.tolist(), strict=True
        ):
            found: dict[str, float] = {}
            spelling = Spelling(source_words(document))
            for sequence, values in zip(tokens, log_probs, strict=True):
                ended = self.end in sequence
                length = sequence.index(self.end) + 1 if ended else len(sequence)
                read = self.reader.written(sequence[:length], values[:length])
                for phrase, score in spelling.spelled(read, ended=ended):
                    found[phrase] = max(score, found.get(phrase, score))
            if options.order == "score":
                found = dict(sorted(found.items(), key=lambda item: -item[1]))
            predictions.append(
                Prediction(document.id, tuple(found), tuple(found.values()), cut=int(row["cut"]))
            )
        return predictions

    @torch.inference_mode()
    def write(self, rows: Sequence[Row], options: DecodeOptions, *, keys: Sequence[str]) -> Written:
        """Sequences of pieces; a document's leave the batch when they have ended.

        Args:
            rows: B of them.
            options: how.
            keys: of each row what its draws depend on.

        Returns:
            Tokens and log-probabilities (B, K, T), scores (B, K).
        """
        was_training = self.model.training
        self.model.eval()
        try:
            weight = self.output()[0]
            batch = {name: part.to(weight.device) for name, part in self.collate(rows).items()}
            steps, M, B = options.longest(self.max_output), max(options.samples, options.beams), len(rows)
            encoded = self.encoded(batch["source"], batch["mask"])
            decoder = step_decoder(self.model, encoded, batch["mask"], beams=M, steps=steps)
            common: dict[str, Any] = {
                "steps": steps, "pad": self.pad, "end": self.end, "start": self.start,
                "device": weight.device, "shortest": options.min_length,
                "no_repeat_ngram": options.no_repeat_ngram,
            }  # fmt: skip
            if options.mode == "beam":
                power = options.length_power
                return beam_search(
                    decoder.step, decoder.reorder, B, lambda n: float(n**power), beams=M,
                    early_stop=power >= 0, keep=options.samples, traced=True, **common,
                )  # fmt: skip
            choose = None
            if options.mode == "sample":
                choose = Draws(
                    options.seed, [(key, sample) for key in keys for sample in range(M)], steps,
                    temperature=options.temperature, top_k=options.top_k, top_p=options.top_p,
                    device=weight.device,
                )  # fmt: skip
            written = follow(decoder.step, B * M, choose=choose, reorder=decoder.reorder, group=M, **common)
            return Written(*(part.unflatten(0, (B, M)) for part in written))
        finally:
            self.model.train(was_training)

    def phrase_log_likelihood(self, document: Document, phrases: Sequence[str]) -> list[float]:
        """How likely each phrase is as the whole target of a document, see `phrase_log_likelihoods`."""
        return self.phrase_log_likelihoods([document], [phrases])[0]

    @torch.inference_mode()
    def phrase_log_likelihoods(
        self, documents: Sequence[Document], phrases: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """How likely each phrase is as the whole target of its document: mean log-probability of its pieces.

        A document is read once for all its phrases.

        Args:
            documents: B; their texts are read, their phrases are not.
            phrases: for each document any number, none of them empty.

        Returns:
            One a phrase, in nats a piece, the end among the pieces; -inf for a phrase longer than the longest
            output.
        """
        found = [[-math.inf] * len(each) for each in phrases]
        targets: list[np.ndarray] = []
        places: list[tuple[int, int]] = []
        for place, each in enumerate(phrases):
            for column, phrase in enumerate(each):
                ids, lost = self.target(encoded_phrase(phrase), limit=self.max_output)
                if not lost:
                    targets.append(np.array(ids, np.int32))
                    places.append((place, column))
        if not targets:
            return found
        was_training = self.model.training
        self.model.eval()
        try:
            weight, bias = self.output()
            batch = self.collate([self.encode(document, gold=False) for document in documents])
            mask = batch["mask"].to(weight.device)
            states = self.encoded(batch["source"].to(weight.device), mask)
            owners = torch.tensor([place for place, _ in places], device=weight.device)
            for first in range(0, len(targets), AT_ONCE):
                labels = pad(targets[first : first + AT_ONCE], IGNORED).to(weight.device)
                own = owners[first : first + AT_ONCE]
                hidden = self.decode(states[own], mask[own], labels)
                losses = token_losses(hidden, weight, labels, bias=bias)
                means = -losses.sum(1) / (labels != IGNORED).sum(1)
                for (place, column), value in zip(places[first:], means.tolist(), strict=False):
                    found[place][column] = value
        finally:
            self.model.train(was_training)
        return found

    # folders

    def save(self, folder: Path) -> None:
        """Write weights, config, generation config (greedy, no more), tokenizer and `keyphrase.json`."""
        from transformers import GenerationConfig

        self.model.generation_config = GenerationConfig(
            decoder_start_token_id=self.start, eos_token_id=self.end, pad_token_id=self.pad,
            max_new_tokens=self.max_output,
        )  # fmt: skip
        with no_bars():
            self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        write_json(Path(folder) / NOTE, self.note())

    def note(self) -> dict[str, Any]:
        """What `keyphrase.json` says."""
        return {
            "family": self.name,
            "version": VERSION,
            **{name: getattr(self, name) for name in self.notes},
        }

    @classmethod
    def noted(cls, folder: str | Path) -> dict[str, Any]:
        """The values of `keyphrase.json` that the constructor takes.

        Raises:
            UserError: one is missing, or the folder is of another family.
        """
        found = read_note(folder)
        if found["family"] != cls.name:
            raise UserError(f"{folder}: is a model of family {found['family']}, not {cls.name}")
        if missing := [name for name in cls.notes if name not in found]:
            raise UserError(f"{Path(folder) / NOTE}: {', '.join(missing)} missing")
        return {name: found[name] for name in cls.notes}

    def _ids(self, text: str) -> list[int]:
        """Without special ones, and however long."""
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def one_by_one(document: Document) -> list[str]:
    """The target string of each phrase alone."""
    return [
        target_text(document._replace(present=(phrase,), absent=()))
        for phrase in (*document.present, *document.absent)
        if phrase.strip()
    ]


def special_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special ids that a tokenizer puts in front of a text and behind it.

    Raises:
        UserError: it puts nothing behind, so that no text ends.
    """
    whole = tokenizer("a b", verbose=False)["input_ids"]
    bare = tokenizer("a b", add_special_tokens=False, verbose=False)["input_ids"]
    for place in range(len(whole) - len(bare) + 1):
        if list(whole[place : place + len(bare)]) == list(bare):
            front, back = list(whole[:place]), list(whole[place + len(bare) :])
            if back:
                return front, back
    raise UserError("the tokenizer puts no end token behind a text; it is not one of a BART, T5 or BERT")
