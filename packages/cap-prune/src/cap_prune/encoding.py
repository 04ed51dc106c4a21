"""From the data of a task to tokenised examples: which reader, which part, which tokens (ours)."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cap_prune.examples import Examples
from cap_prune.glue_files import read_glue
from cap_prune.record_files import labels_found, read_records, record_file
from cap_prune.saved_datasets import is_saved
from cap_prune.tasks import Task, task_of
from cap_prune.texts import Texts
from nonet.data.batching import generator
from nonet.errors import UserError

OWN_TASKS = ("classify", "regress")
"""tasks of users' files, which have no layout of GLUE's"""


def resolve_task(name: str, data: Path, labels: tuple[str, ...] | None = None) -> Task:
    """The task of a name; for `classify` the labels are those of the training side of the data.

    Args:
        name: one of `tasks.TASKS`.
        data: where it would be read from.
        labels: of a trained model, if there is one, instead of those found.

    Raises:
        UserError: no such task, nothing to read, or a file with one label alone.
    """
    task = task_of(name)
    if task.name != "classify":
        return task
    return task_of(name, labels if labels is not None else labels_found(task, data))


def read_texts(task: Task, data: Path, side: str, *, labelled: bool = True) -> Texts:
    """The texts and labels of one side, from whatever the data is.

    Args:
        task: any but SQuAD's.
        data: a folder of GLUE, of files with fields, or that `datasets` saved; or one file.
        side: train, dev or test; MNLI also has dev-mismatched and test-mismatched.
        labelled: whether labels are needed.

    Raises:
        UserError: it is not there, or something is wrong with it.
    """
    if not data.exists():
        raise UserError(f"{data}: no such file or folder")
    own = task.name in OWN_TASKS or is_saved(data)
    if not own:
        file = record_file(data, side)
        own = file is not None and not _is_glue(task, file)
    return (read_records if own else read_glue)(task, data, side, labelled=labelled)


def read_task(
    task: Task,
    data: Path,
    side: str,
    tokenizer: Any,
    *,
    max_length: int = 128,
    stride: int = 128,
    size: int | None = None,
    seed: int | None = None,
    config: Any = None,
    labelled: bool = True,
    say: Callable[[str], None] | None = None,
) -> Examples:
    """One side of a task, tokenised.

    Args:
        task: the task.
        data: as in `read_texts`; for SQuAD a file or a folder with `train-v1.1.json` and `dev-v1.1.json`.
        side: train, dev or test.
        tokenizer: a fast one of transformers.
        max_length: tokens of an example at most; longer ones are cut at the end, the longer text of a pair
            first. Contexts of SQuAD are read in windows of it.
        stride: tokens that neighbouring windows share (SQuAD).
        size: so many examples (questions, for SQuAD); None: all.
        seed: with `size`, draws them at random, and keeps their order; None: the first ones.
        config: of the model, to compare `max_length` with its positions.
        labelled: whether labels are needed.
        say: takes notes on what was cut or skipped; None: standard error.

    Raises:
        UserError: something is wrong with the data, the tokenizer has no padding, or `max_length` is more
            than the model has positions for.
    """
    say = say or (lambda text: print(text, file=sys.stderr))
    check_tokenizer(tokenizer, max_length, config)
    if task.kind == "qa":
        from cap_prune.squad_features import read_squad_examples

        found = read_squad_examples(
            data, side, tokenizer, max_length=max_length, stride=stride, chosen=_chooser(size, seed),
            labelled=labelled, types=takes_types(tokenizer, config),
        )  # fmt: skip
    else:
        texts = read_texts(task, data, side, labelled=labelled)
        texts = texts.take(_chooser(size, seed)(len(texts)))
        found = encode_texts(
            texts, tokenizer, max_length, regression=task.kind == "regression", config=config
        )
    if found.skipped:
        say(f"{data}: {found.skipped:,} broken rows of the {side} side left out, as is usual for {task.name}")
    if found.cut:
        say(f"{data}: {found.cut:,} of {len(found):,} examples are cut to {max_length} tokens")
    return found


def encode_texts(
    texts: Texts, tokenizer: Any, max_length: int, *, regression: bool = False, config: Any = None
) -> Examples:
    """Texts or pairs as token numbers with the special tokens of the model.

    Args:
        texts: of one side.
        tokenizer: a fast one of transformers.
        max_length: tokens at most; of a pair, the longer text loses its end first.
        regression: labels are float32 and not int64.
        config: of the model, which says whether it tells segments apart.
    """
    if not len(texts):
        raise UserError("there are no examples to tokenise; check the data")
    found = tokenizer(texts.first, texts.second, truncation="longest_first", max_length=max_length)
    full = [number for number, row in enumerate(found["input_ids"]) if len(row) == max_length]
    cut = 0
    if full:  # as long as can be: with or without a part left over
        some = texts.take(full)
        whole = tokenizer(some.first, some.second, truncation=False, verbose=False)["input_ids"]
        cut = sum(len(row) > max_length for row in whole)
    types = takes_types(tokenizer, config)
    labels = None
    if texts.labels is not None:
        labels = np.asarray(texts.labels, np.float32 if regression else np.int64)
    ids = [np.asarray(row, np.int32) for row in found["input_ids"]]
    return Examples(
        ids=ids,
        types=[np.asarray(row, np.int32) for row in found["token_type_ids"]] if types else None,
        labels=labels,
        lengths=np.asarray([len(row) for row in ids], np.int64),
        cut=cut,
        skipped=texts.skipped,
    )


def check_tokenizer(tokenizer: Any, max_length: int, config: Any = None) -> None:
    """Nothing, if a tokenizer can pad and a model has room for so many tokens.

    Raises:
        UserError: no padding token, a slow tokenizer, or more tokens than the model has positions.
    """
    if tokenizer.pad_token_id is None:
        raise UserError(
            f"the tokenizer {tokenizer.name_or_path or type(tokenizer).__name__} has no padding token: "
            "set tokenizer.pad_token and save it with the model"
        )
    if not tokenizer.is_fast:
        raise UserError("the tokenizer is a slow one, which does not say where tokens lie; save a fast one")
    room = positions(config) if config is not None else None
    if room is not None and max_length > room:
        raise UserError(f"max_length is {max_length}, but the model has {room} positions; lower max_length")
    if max_length < 8:
        raise UserError(f"max_length is {max_length}; no text is left below 8 tokens")


def takes_types(tokenizer: Any, config: Any = None) -> bool:
    """Whether a model is told which of two texts a token belongs to; DistilBERT and RoBERTa are not."""
    given = "token_type_ids" in tokenizer.model_input_names
    return given and (config is None or int(getattr(config, "type_vocab_size", 0)) > 1)


def positions(config: Any) -> int | None:
    """Tokens that a model has positions for; RoBERTa's first ones stand for padding."""
    room = getattr(config, "max_position_embeddings", None)
    if room is None:
        return None
    offset = int(config.pad_token_id) + 1 if str(config.model_type).removeprefix("cap_") == "roberta" else 0
    return int(room) - offset


def _is_glue(task: Task, file: Path) -> bool:
    """Whether a .tsv file has GLUE's layout; files with other suffixes never do."""
    if file.suffix != ".tsv":
        return False
    with open(file, encoding="utf-8-sig", errors="replace") as lines:
        header = lines.readline().rstrip("\r\n").split("\t")
    return "text" not in header or "text" in task.texts


def _chooser(size: int | None, seed: int | None) -> Callable[[int], list[int]]:
    """Which of so many things are taken, in order."""

    def choose(count: int) -> list[int]:
        if size is None or size >= count:
            return list(range(count))
        if seed is None:
            return list(range(size))
        drawn = generator(seed, "cap-subset").choice(count, size, replace=False)
        return [int(number) for number in np.sort(drawn)]

    return choose
