"""The verb `finetune`: a pre-trained model learns a task on the patches that are kept."""

from dataclasses import dataclass

from pta_vlp.task_options import PrunedFinetuneOptions


@dataclass(frozen=True, kw_only=True)
class Options(PrunedFinetuneOptions):
    """Fine-tune an image-text model on a task, on the patches that the text asks for; the weights of the best
    validation are kept, as a folder that `evaluate` and `predict` take. What is not given is as in mPLUG's
    and TiMix's released configurations."""


def run(options: Options) -> int:
    """Fine-tune, save the model, its card and its page; prints the folder."""
    from nonet.report.run_page import run_page
    from nonet.vision_language.tasks.finetuning import finetune_task
    from pta_vlp.pruned_tasks import Pruning

    done = finetune_task("pta-vlp", options, equip=Pruning(options, options.keep, options.alignment))
    if done.writes:
        run_page(done.folder).save(done.folder / "report.html")
        print(done.folder)
    return 0
