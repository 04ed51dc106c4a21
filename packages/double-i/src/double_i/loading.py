"""A causal language model and its tokenizer from a folder. Source: ours.

Code from a model's folder is never run, and weights are read as safetensors or with weights_only.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nonet.errors import UserError
from nonet.training.hub import load_pretrained, local_or_hub


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def load_model(
    name: str | Path,
    *,
    adapter: str | Path | None = None,
    dtype: torch.dtype = torch.float32,
    say: Callable[[str], None] = _say,
) -> tuple[Any, Any]:
    """A model in evaluation mode on the CPU, and its tokenizer.

    Args:
        name: folder of a causal language model, or of a peft adapter that names its base; or a hub name.
        adapter: folder of a peft adapter to merge into it.
        dtype: of the weights.
        say: takes remarks on weights that do not match.

    Returns:
        The model of transformers, adapters merged in, and its tokenizer.

    Raises:
        UserError: no such folder, no language model in it, or an adapter that does not fit.
    """
    from transformers import AutoModelForCausalLM

    if adapter is None and (Path(name) / "adapter_config.json").exists():
        name, adapter = _base_of(Path(name)), name
    if adapter is not None and not (Path(adapter) / "adapter_config.json").exists():
        raise UserError(f"{adapter}: no adapter_config.json, so this is no adapter folder of peft")
    check_model(name)
    words = adapter if adapter is not None and (Path(adapter) / "tokenizer_config.json").exists() else None
    try:
        model = load_pretrained(AutoModelForCausalLM, name, say=say, dtype=dtype, trust_remote_code=False)
    except (ValueError, KeyError, RuntimeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{name}: no causal language model could be loaded: {_line(error)}") from error
    if adapter is not None:
        from peft import PeftModel

        from double_i.adapters import quiet_peft

        try:
            with quiet_peft():
                model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise UserError(f"{adapter}: the adapter does not fit {name}: {_line(error)}") from error
    return model.eval(), load_tokenizer(words or name)


def check_model(name: str | Path) -> None:
    """Refuse at once what is neither a folder with a model or adapter nor a hub name with an owner.

    Raises:
        UserError: it is neither.
    """
    text = str(name)
    if not Path(text).exists() and "/" not in text:
        raise UserError(f"no folder {text}; give a model folder, or a hub name like owner/name")
    if not (Path(text) / "adapter_config.json").exists():
        local_or_hub(text)


def load_tokenizer(name: str | Path) -> Any:
    """The tokenizer of a model.

    Raises:
        UserError: there is none.
    """
    from transformers import AutoTokenizer

    folder = Path(name)
    where = name if (folder / "adapter_config.json").exists() else local_or_hub(name)
    try:
        return AutoTokenizer.from_pretrained(where, trust_remote_code=False)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{name}: no tokenizer could be loaded: {_line(error)}") from error


def _base_of(adapter: Path) -> str:
    """The model that an adapter was trained on."""
    file = adapter / "adapter_config.json"
    try:
        name = json.loads(file.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: names no base model") from error
    if not isinstance(name, str) or not name:
        raise UserError(f"{file}: names no base model; give the base as model and this folder as adapter")
    return name


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
