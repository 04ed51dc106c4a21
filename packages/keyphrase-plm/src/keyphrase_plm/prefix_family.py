"""The family prefix-lm: one encoder-only model reads a document and writes its phrases (Wu et al. 2022)."""

import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from keyphrase_plm.decoding_options import DecodeOptions
from keyphrase_plm.documents import Document, Prediction
from keyphrase_plm.encoder_decoder import one_by_one
from keyphrase_plm.families import Family, Row
from keyphrase_plm.loading import NOTE, VERSION, read_note
from keyphrase_plm.padding import pad
from keyphrase_plm.prefix_decoding import write
from keyphrase_plm.prefix_lm import prefix_loss, pseudo_targets
from keyphrase_plm.prefix_options import PrefixOptions
from keyphrase_plm.prefix_scoring import mean_log_probs
from keyphrase_plm.prefix_walk import Walk
from keyphrase_plm.sequences import encoded, source_text, source_words, target_text
from keyphrase_plm.spelling import Spelling
from keyphrase_plm.tokenizers import load_tokenizer
from keyphrase_plm.written_phrases import PhraseReader
from nonet.errors import UserError
from nonet.files import write_json
from nonet.training.hub import load_pretrained

# Shapes: B documents, K sequences of each, P phrases of each, S source pieces, T target pieces.


class PrefixLM(Family):
    """A masked language model that writes phrases.

    Args:
        model: see `prefix_walk.Walk`.
        tokenizer: fast, of transformers, with `[CLS]`, `[SEP]`, `[MASK]` and `[PAD]` of some name.
        options: lengths, objective, and how targets are made.

    Raises:
        UserError: the model is built otherwise or has too few positions; the tokenizer lacks a special piece.
    """

    name: ClassVar[str] = "prefix-lm"

    def __init__(self, model: Any, tokenizer: Any, *, options: PrefixOptions | None = None) -> None:
        super().__init__()
        self.options = options or PrefixOptions()
        self.model, self.tokenizer = model, tokenizer
        self.walk = Walk(model, target_type=self.options.target_type)
        both = self.options.max_source + self.options.max_target
        if both > self.walk.longest:
            raise UserError(
                f"max_source {self.options.max_source} and max_target {self.options.max_target} are {both} "
                f"pieces, but the model has positions for {self.walk.longest}"
            )
        self.start, self.end, self.mask, self.pad = (
            _special(tokenizer, name) for name in ("cls", "sep", "mask", "pad")
        )
        self._reader = PhraseReader(tokenizer)
        # byte-level pieces of a first word differ from those of a later one, unless a space stands before it
        backend = tokenizer.backend_tokenizer
        self._lead = " " if type(backend.decoder).__name__ == "ByteLevel" else ""

    @classmethod
    def create(cls, init: str, options: PrefixOptions) -> Self:
        """Start from a masked language model in a folder or on the hub.

        Raises:
            UserError: no such model, or see the class.
        """
        from transformers import AutoModelForMaskedLM

        model = load_pretrained(AutoModelForMaskedLM, init)
        return cls(model, load_tokenizer(init), options=options)

    @classmethod
    def tiny(
        cls, tokenizer: Any, *, seed: int, layers: int = 2, width: int = 32,
        options: PrefixOptions | None = None,
    ) -> Self:  # fmt: skip
        """A small model with random weights, for tests and demos."""
        from keyphrase_plm.small_models import new_bert

        options = options or PrefixOptions()
        model = new_bert(
            len(tokenizer), pad=tokenizer.pad_token_id, layers=layers, width=width, heads=max(1, width // 32),
            positions=options.max_source + options.max_target, dropout=0.0, seed=seed,
        )  # fmt: skip
        return cls(model, tokenizer, options=options)

    # rows

    def encode(self, document: Document, *, gold: bool = True) -> Row:
        """Arrays `source` (S,) and, with gold, `target` (all targets, one behind the other) and `ends` (where
        each ends); a document without phrases has the target that ends at once.
        """
        ids = self._ids(source_text(document))
        room = self.options.max_source - 2
        source = np.array([self.start, *ids[:room], self.end], np.int32)
        row: Row = {"source": source, "cut": max(0, len(ids) - room), "lost": 0}
        if not gold:
            return row | {"size": (len(source), 1)}
        texts = [target_text(document)] if self.options.targets == "one2seq" else one_by_one(document)
        targets, lost = zip(*(self._target(text) for text in texts or [""]), strict=True)
        return row | {
            "target": np.concatenate(targets),
            "ends": np.cumsum([len(target) for target in targets], dtype=np.int32),
            "lost": sum(lost),
            "size": (len(source), max(map(len, targets))),
        }

    def example(self, row: Row, random: np.random.Generator) -> Row:
        """The row with a `pseudo` target drawn anew; with one2one, with one of its phrases."""
        target = row["target"]
        if len(row["ends"]) > 1:
            which = int(random.integers(len(row["ends"])))
            target = target[int(row["ends"][which - 1]) if which else 0 : int(row["ends"][which])]
        pseudo = pseudo_targets(
            target, random, mask_id=self.mask, vocabulary=self._vocabulary, keep=self.options.keep,
            replace=self.options.replace,
        )  # fmt: skip
        return row | {"target": target, "pseudo": pseudo, "ends": np.array([len(target)], np.int32)}

    def collate(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """`source` (B, S), `source_lengths` (B,) and, with gold, `target`, `pseudo` (B, T) and
        `target_lengths` (B,), all int64. Of a row that `example` has not seen, the first target is predicted
        from masks alone.
        """
        batch = {
            "source": pad([row["source"] for row in rows], self.pad),
            "source_lengths": torch.tensor([len(row["source"]) for row in rows]),
        }
        if "target" in rows[0]:
            targets = [row["target"][: int(row["ends"][0])] for row in rows]
            batch["target"] = pad(targets, self.pad)
            batch["target_lengths"] = torch.tensor([len(target) for target in targets])
            masks = [np.full(len(target), self.mask, np.int32) for target in targets]
            batch["pseudo"] = pad(
                [row.get("pseudo", mask) for row, mask in zip(rows, masks, strict=True)], self.pad
            )
        return batch

    # loss

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Divergence from the smoothed labels, summed over target pieces, in nats, and their number.

        Raises:
            UserError: the weights are shards, which only whole layers put together.
        """
        if hasattr(self.model.get_output_embeddings().weight, "to_local"):
            raise UserError("prefix-lm runs parts of layers, which fsdp does not know: set strategy to ddp")
        return prefix_loss(
            self.walk, batch, self.options.objective, pad_id=self.pad, start_id=self.start,
            smoothing=self.options.label_smoothing,
        )  # fmt: skip

    # writing

    def predict(
        self, documents: Sequence[Document], rows: Sequence[Row], options: DecodeOptions
    ) -> list[Prediction]:
        """Phrases of all sequences of a document, each once, with its best score."""
        steps = options.longest(self.options.max_target)
        if not rows:
            return []
        batch = self._batch([{"source": row["source"]} for row in rows])
        with _Evaluating(self.model):
            written = write(
                self.walk, batch["source"], batch["source_lengths"], options, steps=steps,
                ids=[document.id for document in documents], objective=self.options.objective,
                mask_id=self.mask, pad_id=self.pad, start_id=self.start, end_id=self.end,
                blocked=(self.mask, self.pad, *range(len(self.tokenizer), self._vocabulary)),
            )  # fmt: skip
        predictions = []
        for document, row, tokens, log_probs in zip(
            documents, rows, written.tokens.tolist(), written.log_probs.tolist(), strict=True
        ):
            found: dict[str, float] = {}
            spelling = Spelling(source_words(document))
            for sequence, values in zip(tokens, log_probs, strict=True):
                read = self.reader.written(sequence, values)
                for phrase, score in spelling.spelled(read, ended=self.end in sequence):
                    found[phrase] = max(score, found.get(phrase, score))
            if options.order == "score":
                found = dict(sorted(found.items(), key=lambda item: -item[1]))
            predictions.append(
                Prediction(document.id, tuple(found), tuple(found.values()), cut=int(row["cut"]))
            )
        return predictions

    def phrase_log_likelihood(self, document: Document, phrases: Sequence[str]) -> list[float]:
        """How likely each phrase is as the whole target of a document, see `phrase_log_likelihoods`."""
        return self.phrase_log_likelihoods([document], [phrases])[0]

    def phrase_log_likelihoods(
        self, documents: Sequence[Document], phrases: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """How likely each phrase is as the whole target of its document: mean log-probability of its pieces.

        A document is read once for all its phrases, and these are scored in one pass, not piece by piece.

        Args:
            documents: B; their texts are read, their phrases are not.
            phrases: for each document, any number.

        Returns:
            One a phrase, in nats a piece, the end among the pieces; -inf for a phrase that is longer than the
            longest target.
        """
        targets: list[list[np.ndarray]] = []
        short: list[list[int]] = []  # places of the phrases that fit
        for each in phrases:
            made = [self._target(encoded(phrase)) for phrase in each]
            short.append([place for place, (_, lost) in enumerate(made) if not lost])
            targets.append([made[place][0] for place in short[-1]])
        batch = self._batch([self.encode(document, gold=False) for document in documents])
        with _Evaluating(self.model):
            scores = mean_log_probs(
                self.walk, batch["source"], batch["source_lengths"], targets, self.options.objective,
                mask_id=self.mask, start_id=self.start, filler=self.end,
            )  # fmt: skip
        found = [[-math.inf] * len(each) for each in phrases]
        for kept, places, values in zip(found, short, scores, strict=True):
            for place, value in zip(places, values, strict=True):
                kept[place] = value
        return found

    # folders

    def save(self, folder: Path) -> None:
        """Write weights, config, tokenizer and `keyphrase.json`."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        write_json(
            Path(folder) / NOTE, {"family": self.name, "version": VERSION, "options": asdict(self.options)}
        )

    @classmethod
    def load(cls, folder: str | Path) -> "PrefixLM":
        """Read a folder that `save` has written.

        Raises:
            UserError: a file is missing or damaged, or is of another family.
        """
        note, known = read_note(folder), {field.name for field in fields(PrefixOptions)}
        options = note.get("options")
        if note["family"] != cls.name or not isinstance(options, dict) or set(options) != known:
            raise UserError(
                f"{Path(folder) / NOTE}: not of a prefix-lm: family {note['family']}, options {options}"
            )
        return cls.create(str(folder), PrefixOptions(**options))

    # parts of the above

    @property
    def reader(self) -> PhraseReader:
        """Of the tokenizer as it is now: tokens may have been added."""
        if len(self._reader.separators) != len(self.tokenizer):
            self._reader = PhraseReader(self.tokenizer)
        return self._reader

    @property
    def _vocabulary(self) -> int:
        return int(self.model.get_output_embeddings().weight.shape[0])

    def _batch(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        device = self.model.get_output_embeddings().weight.device
        return {name: part.to(device) for name, part in self.collate(rows).items()}

    def _target(self, text: str) -> tuple[np.ndarray, int]:
        """A target string as pieces with the end, int32, and how many phrases did not fit."""
        ids, lost = self.reader.fit(self._ids(text, lead=self._lead), self.options.max_target - 1)
        return np.array([*ids, self.end], np.int32), lost

    def _ids(self, text: str, lead: str = "") -> list[int]:
        if not text:
            return []
        return list(self.tokenizer(lead + text, add_special_tokens=False, verbose=False)["input_ids"])


def _special(tokenizer: Any, name: str) -> int:
    found = getattr(tokenizer, f"{name}_token_id", None)
    if found is None:
        raise UserError(f"the tokenizer has no {name} token; prefix-lm needs one of a masked language model")
    return int(found)


class _Evaluating:
    """A block in which a model is in evaluation mode."""

    def __init__(self, model: Any) -> None:
        self.model, self.was_training = model, model.training

    def __enter__(self) -> None:
        self.model.eval()

    def __exit__(self, *_: object) -> None:
        self.model.train(self.was_training)
