"""Checkpoints of the released code, brought into our layout (Ma et al. 2021, `Albert-Ma/PROP`).

They hold BERT's weights under `bert.`, the ranking head as `cls.weight` and `cls.bias` (in earlier states of
the code `rep.`) and the masked-word head as `cls.predictions.` or, before, `predictions.`. Norms may be named
gamma and beta, and everything may stand behind `module.`, where several GPUs have trained.
"""

import json
import pickle
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, BertConfig, BertTokenizer

from nonet.errors import UserError
from nonet.training.hub import Account, load_account, save_folder
from prop_ir.loading import drawing
from prop_ir.masked_words import MaskedWordHead
from prop_ir.model import PropModel, agree, ranking_head, save_ranker_files, save_words
from prop_ir.pieces import load_tokenizer

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
CONFIGS = ("config.json", "bert_config.json")
RENAMED = (
    (re.compile(r"^(module\.)+"), "", "module. taken away"),
    (re.compile(r"\.gamma$"), ".weight", "gamma is weight"),
    (re.compile(r"\.beta$"), ".bias", "beta is bias"),
    (re.compile(r"^(cls|rep)\.(?=(weight|bias)$)"), "classifier.", "ranking head is classifier"),
    (re.compile(r"^predictions\."), "cls.predictions.", "predictions. is cls.predictions."),
)
TIED = {"cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight"}
BIAS = {"cls.predictions.decoder.bias": "cls.predictions.bias"}
KNOWN = ("cls.seq_relationship.", "bert.embeddings.position_ids")
"""what BERT's own checkpoints hold besides: the next-sentence head, a buffer"""


class Original(NamedTuple):
    """A checkpoint in our names."""

    config: BertConfig
    tensors: dict[str, Tensor]
    """name -> float32 weight"""
    renamed: Counter[str]
    """how many names which rule has changed"""
    left: tuple[str, ...]
    """names that belong to no part of ours, and are known to be there"""


class Converted(NamedTuple):
    """A model with an original's weights."""

    model: PropModel
    account: Account
    absent: set[str]
    """of the ranker's weights, those that the checkpoint lacks: not to be written"""
    words: bool
    """whether it had a masked-word head"""


def read_original(source: Path) -> Original:
    """Read a checkpoint: tensors alone, no code runs.

    Args:
        source: a folder with config.json (or bert_config.json) and model.safetensors or pytorch_model.bin, or
            such a file of weights with its configuration beside it.

    Raises:
        UserError: something is missing or damaged, or is not of BERT.
    """
    if not source.exists():
        raise UserError(f"{source} does not exist; name the folder of a checkpoint")
    folder = source if source.is_dir() else source.parent
    config = _config(folder)
    if source.is_file():
        weights = source
    else:
        present = [folder / name for name in WEIGHTS if (folder / name).is_file()]
        if not present:
            raise UserError(f"{source}: neither {WEIGHTS[0]} nor {WEIGHTS[1]} in this folder")
        weights = present[0]
    renamed: Counter[str] = Counter()
    tensors: dict[str, Tensor] = {}
    for name, value in _tensors(weights).items():
        ours = _rename(name, renamed)
        if ours in tensors:
            raise UserError(f"{weights}: two weights come to be {ours}; the second is {name}")
        tensors[ours] = value.float() if value.is_floating_point() else value
    left = tuple(sorted(name for name in tensors if name.startswith(KNOWN)))
    for name in left:
        del tensors[name]
    for copy, kept in (TIED | BIAS).items():
        if copy in tensors and kept in tensors and not torch.equal(tensors[copy], tensors[kept]):
            raise UserError(
                f"{weights}: {copy} differs from {kept}; weights that are not tied cannot be kept apart here"
            )
        value = tensors.pop(copy, None)
        if value is not None:
            tensors.setdefault(kept, value)
    return Original(config, tensors, renamed, left)


def convert(original: Original, *, say: Callable[[str], None] = print) -> Converted:
    """Put an original's weights into a model.

    Args:
        original: from `read_original`.
        say: takes the account.

    Raises:
        UserError: over a tenth of the weights does not fit.
    """
    config = original.config
    config.num_labels = 1
    with drawing(0):
        ranker = AutoModelForSequenceClassification.from_config(config)
        masked = AutoModelForMaskedLM.from_config(config)
    words = MaskedWordHead(masked, ranker.get_input_embeddings().weight)
    own = ranker.state_dict(), words.named_tensors()
    shapes = {name: value.shape for part in own for name, value in part.items()}
    found = {name: value.shape for name, value in original.tensors.items()}
    account = load_account(
        shapes.keys() - found.keys(), found.keys() - shapes.keys(),
        {name for name in shapes.keys() & found.keys() if shapes[name] != found[name]}, len(shapes), say=say,
    )  # fmt: skip
    if account.mismatched:
        name = account.mismatched[0]
        raise UserError(
            f"{name} has the shape {tuple(found[name])}, the configuration wants {tuple(shapes[name])}"
        )
    lost = set(account.missing)
    if strange := sorted(name for name in lost - ranking_head(ranker) if name in own[0]):
        raise UserError(f"the checkpoint lacks {strange[0]}, a weight of the encoder")
    ranker.load_state_dict({name: original.tensors.get(name, value) for name, value in own[0].items()})
    words.set_tensors({name: original.tensors.get(name, value) for name, value in own[1].items()})
    absent, complete = lost & own[0].keys(), not lost & own[1].keys()
    return Converted(PropModel(ranker.eval(), words), account, absent, complete)


def save_converted(
    converted: Converted, tokenizer: Any, folder: Path, card: str, *, overwrite: bool = False
) -> Path:
    """Write a converted model as a folder; weights that the checkpoint lacked stay out of it.

    So a model without ranking head is known as one: `load_ranker(folder, head="require")` refuses it.
    """
    agree(tokenizer, converted.model.ranker)
    return save_folder(_Files(converted), tokenizer, folder, card, overwrite=overwrite)


def load_vocabulary(folder: Path, rows: int) -> Any:
    """The tokenizer in a checkpoint's folder, which may be a bare vocab.txt; lower-case, as BERT's uncased.

    Args:
        folder: of the checkpoint.
        rows: of the embeddings.

    Raises:
        UserError: there is none, or it has more pieces than the model.
    """
    if (folder / "tokenizer.json").is_file():
        tokenizer = load_tokenizer(folder)
    elif (folder / "vocab.txt").is_file():
        tokenizer = BertTokenizer.from_pretrained(folder)
    else:
        raise UserError(f"{folder}: no vocab.txt or tokenizer.json here; name a tokenizer with --tokenizer")
    if len(tokenizer) > rows:
        raise UserError(f"{folder}: the tokenizer has {len(tokenizer):,} pieces and the model {rows:,}")
    return tokenizer


class _Files:
    def __init__(self, converted: Converted) -> None:
        self.converted = converted

    def save_pretrained(self, folder: Path, **_: Any) -> None:
        save_ranker_files(self.converted.model.ranker, folder, without=self.converted.absent)
        if self.converted.words:
            save_words(self.converted.model.words, folder)


def _config(folder: Path) -> BertConfig:
    path = next((folder / name for name in CONFIGS if (folder / name).is_file()), None)
    if path is None:
        raise UserError(f"{folder}: neither {CONFIGS[0]} nor {CONFIGS[1]} beside the weights")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        kind = values.get("model_type", "bert")
    except (ValueError, AttributeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a configuration: {error}") from error
    if kind != "bert":
        raise UserError(f"{path}: a model of type {kind!r}; the released code trains BERT")
    return BertConfig.from_dict(values)


def _tensors(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, SafetensorError, pickle.UnpicklingError, EOFError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: no weights can be read from it: {reason[:200]}") from error
    for name in ("state_dict", "model_state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"{path}: holds no weights by name")
    return found


def _rename(name: str, counts: Counter[str]) -> str:
    for pattern, new, rule in RENAMED:
        name, changed = pattern.subn(new, name)
        if changed:
            counts[rule] += 1
    return name
