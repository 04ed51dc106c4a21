"""The verb `finetune`: a pre-trained model learns a task."""

from dataclasses import dataclass

from nonet.vision_language.tasks.task_options import FinetuneOptions


@dataclass(frozen=True, kw_only=True)
class Options(FinetuneOptions):
    """Fine-tune an image-text model on a task; the weights of the best validation are kept, as a folder that
    `evaluate` and `predict` take. What is not given is as in mPLUG's and TiMix's released configurations."""


def run(options: Options) -> int:
    """Fine-tune, save the model, its card and its page; prints the folder."""
    from nonet.report.run_page import run_page
    from nonet.vision_language.tasks.finetuning import finetune_task

    done = finetune_task("timix", options)
    if done.writes:
        run_page(done.folder).save(done.folder / "report.html")
        print(done.folder)
    return 0
