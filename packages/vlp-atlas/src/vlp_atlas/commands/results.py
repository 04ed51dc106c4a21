"""The verb `results`: numbers that were reported."""

from dataclasses import dataclass
from typing import Literal

from vlp_atlas.catalogue_options import TableOptions


@dataclass(frozen=True, kw_only=True)
class Options(TableOptions):
    """Reported numbers that fit all filters, each with split, setting, protocol, confidence and source."""

    task: str | None = None
    """id, name or alias of a task"""
    dataset: str | None = None
    """id, name or alias of a data set"""
    split: str | None = None
    """split as papers write it, such as test-dev"""
    metric: str | None = None
    """id, name or alias of a metric"""
    checkpoint: str | None = None
    """id, name or alias of a checkpoint, or of a model for all of its checkpoints"""
    setting: Literal["fine-tuned", "zero-shot", "few-shot", "linear-probe"] | None = None
    """how the model was put to the task"""
    sort: str | None = None
    """column to sort by, such as value; --sort=-value has the largest first"""


def run(options: Options) -> int:
    """Print the table."""
    from vlp_atlas.catalogue_options import emit

    atlas = options.load()
    table = atlas.results(
        task=options.task,
        dataset=options.dataset,
        split=options.split,
        metric=options.metric,
        checkpoint=options.checkpoint,
        setting=options.setting,
        sort=options.sort,
    )
    emit(table, atlas, as_json=options.json)
    return 0
