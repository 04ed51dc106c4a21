"""Whether a run that is taken up has the options that it began with (ours)."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from nonet.errors import UserError
from nonet.options import dump, read


def same_settings(folder: Path, options: Any, *, besides: Collection[str]) -> None:
    """Compare options with those in a run's folder.

    Args:
        folder: of the run.
        options: of the command that goes on with it.
        besides: names that may differ, such as where it goes on and on which device.

    Raises:
        UserError: another option differs; the text names the first.
    """
    before = dict(_flat(read(folder / "options.yaml").values))
    now = dict(_flat(yaml.safe_load(dump(options))))
    for name, value in now.items():
        if name not in besides and before.get(name, value) != value:
            raise UserError(
                f"{name} is {value} here but {before[name]} in {folder}: go on with the same options, or "
                "begin another run"
            )


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
