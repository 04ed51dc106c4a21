"""Models and tokenizers from folders: dense ones, slim ones and the levels of a run (ours).

Code from a folder is never run: the classes of slim models are this package's own.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from cap_prune.architectures import model_type
from cap_prune.layer_names import RECORD
from cap_prune.tasks import Task, columns_of, label_config
from cap_prune.units import Units
from nonet.errors import UserError
from nonet.training.hub import load_pretrained, local_folder

Head = Literal["classification", "qa", "none"]
"""what lies on an encoder"""
PACKED = "packed.safetensors"
"""file of a folder whose weights were exported without their zeros"""
ONNX = "model.onnx"
"""file of a folder that onnxruntime runs instead of torch"""
AUTO: dict[Head, str] = {
    "classification": "AutoModelForSequenceClassification",
    "qa": "AutoModelForQuestionAnswering",
    "none": "AutoModel",
}
_ENDINGS: dict[str, Head] = {"ForSequenceClassification": "classification", "ForQuestionAnswering": "qa"}
_FOR = {"classification": "classes", "regression": "numbers", "qa": "answers"}


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def load_model(
    name: str | Path,
    task: Task | None = None,
    *,
    labels: tuple[str, ...] | None = None,
    new_head: bool = False,
    say: Callable[[str], None] = _say,
) -> tuple[Any, Any]:
    """A model in evaluation mode on the CPU, and its tokenizer.

    Args:
        name: folder of a dense or slim model or of a level of a run, or a hub name.
        task: what it is for; the head's outputs come in the order of its labels, whatever order the folder
            has them in. None: with the head that the folder has, as it is, or without one.
        labels: of a task whose labels are those of the data.
        new_head: where the folder's head is not one for the task, take a new one with random weights (of
            torch's seed) instead of an error.
        say: takes remarks on weights that do not match, and on a new head.

    Returns:
        A class of transformers, or one of `cap_prune.slim_models`, in the dtype of its file.

    Raises:
        UserError: no such model, damaged files, an architecture that is not supported, no head for the task,
            or no tokenizer.
    """
    folder = local_folder(name)  # one question to the hub, and none where there is a folder
    config = load_config(folder)
    if task is not None and labels is not None:
        task = replace(task, labels=tuple(labels))
    trouble = None if task is None else _trouble(config, task)
    if trouble is not None and not new_head:
        raise UserError(f"{name}: {trouble}; train one with `cap-prune teacher`, or name another model")
    if task is None or trouble is None:
        model = _load(head_of(config), folder, config, say)
        if task is not None and task.labels:
            _put_in_order(model, task)
    else:
        say(f"{name}: {trouble}: it gets a new one")
        model = _with_new_head(folder, config, task, say)
    return model.eval(), load_tokenizer(folder)


def load_config(name: str | Path) -> Any:
    """A model's config, of a slim model with its units.

    Raises:
        UserError: no such model, an ONNX export, a damaged config, or an architecture that is not supported.
    """
    from types import SimpleNamespace

    from transformers import AutoConfig

    from cap_prune.slim_models import register

    register()
    where = local_folder(name)
    if (where / ONNX).is_file() and not any(where.glob("*.safetensors")):
        raise UserError(
            f"{name}: an ONNX export, which only `bench` runs; name the model that it was made from"
        )
    try:
        config = AutoConfig.from_pretrained(where, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{name}: its config cannot be read: {_line(error)}") from error
    model_type(SimpleNamespace(config=config))  # type: ignore[arg-type]
    record = getattr(config, RECORD, None)
    if record is not None:
        try:
            Units.from_dict(record)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{name}: the entry {RECORD} of its config is damaged: {_line(error)}") from error
    return config


def head_of(config: Any) -> Head:
    """What head the model of a config has, by the name of its class; language models count as `none`."""
    kind = (getattr(config, "architectures", None) or [""])[0]
    for ending, head in _ENDINGS.items():
        if kind.endswith(ending):
            return head
    return "none"


def load_tokenizer(name: str | Path) -> Any:
    """The tokenizer of a model.

    Raises:
        UserError: there is none.
    """
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(local_folder(name), trust_remote_code=False)
        if not set(found.get_vocab()) - set(found.all_special_tokens):
            raise UserError(f"{name}: its tokenizer knows no word: tokenizer.json or vocab.txt is missing")
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{name}: no tokenizer can be loaded: {_line(error)}") from error


def _load(head: Head, name: str | Path, config: Any, say: Callable[[str], None]) -> Any:
    import transformers

    kind = getattr(transformers, AUTO[head])
    if (Path(name) / PACKED).is_file():
        return _unpacked(kind, Path(name), config)
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # its account of the weights would stand beside ours
    try:
        return load_pretrained(kind, name, say=say, config=config, trust_remote_code=False)
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{name}: cannot be loaded: {_line(error)}") from error
    finally:
        transformers.logging.set_verbosity(level)


def _unpacked(kind: Any, folder: Path, config: Any) -> Any:
    """A model whose weights were exported as csr or 2:4."""
    from cap_prune.packing import read_packed

    state = read_packed(folder)
    model = kind.from_config(config).to(next(iter(state.values())).dtype)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{folder}: {PACKED} does not fit its config: {_line(error)}") from error
    return model


def _with_new_head(name: str | Path, config: Any, task: Task, say: Callable[[str], None]) -> Any:
    """The encoder of the folder under a head of random weights."""
    import transformers

    if (Path(name) / PACKED).is_file():
        raise UserError(f"{name}: packed weights keep their head; export it as slim and train that")
    encoder = _load("none", name, config, say)
    head: Head = "qa" if task.kind == "qa" else "classification"
    config.id2label = {number: f"LABEL_{number}" for number in range(task.outputs)}
    config.label2id = {label: number for number, label in config.id2label.items()}
    _set(config, label_config(task))
    model = getattr(transformers, AUTO[head]).from_config(config).to(encoder.dtype)
    weights, wanted = encoder.state_dict(), model.base_model.state_dict()
    model.base_model.load_state_dict({each: weights[each] for each in wanted})
    return model


def _trouble(config: Any, task: Task) -> str | None:
    """Why a folder's head is none for a task; None: it is one."""
    head, wanted = head_of(config), "qa" if task.kind == "qa" else "classification"
    if head != wanted:
        has = {"classification": "a head for classes", "qa": "a head for answers", "none": "no head"}[head]
        return f"it has {has}, and {task.name} needs one for {_FOR[task.kind]}"
    if task.kind == "qa":
        return None
    if task.kind == "classification" and not task.labels:
        return None if config.num_labels > 1 else f"its head gives one number, and {task.name} has labels"
    if config.num_labels != task.outputs:
        return f"its head has {config.num_labels} outputs, and {task.name} needs {task.outputs}"
    if task.labels:
        try:
            columns_of(config.id2label, task)
        except UserError:
            theirs = list(config.id2label.values())
            return f"its head knows the labels {theirs}, and those of {task.name} are {list(task.labels)}"
    return None


def _put_in_order(model: Any, task: Task) -> None:
    """Give the outputs of a head for classes the task's order and names of labels, in place."""
    order = columns_of(model.config.id2label, task)
    last = getattr(model.classifier, "out_proj", model.classifier)
    for weight in (last.weight, last.bias):
        weight.data = weight.data[order]
    _set(model.config, label_config(task))


def _set(config: Any, entries: dict[str, Any]) -> None:
    for entry, value in entries.items():
        setattr(config, entry, value)


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
