"""The verb `convert`: a checkpoint of others as a model folder of ours."""

from dataclasses import dataclass

from nonet.vision_language.folder_options import ConvertOptions


@dataclass(frozen=True, kw_only=True)
class Options(ConvertOptions):
    """Read a checkpoint of the code of ALBEF, mPLUG or TiMix, or the vision transformer of a CLIP, into a
    model folder, and account for every weight. Nothing in a checkpoint is run.
    """


def run(options: Options) -> int:
    """Convert, say what was found, assumed and left out, write the folder."""
    from nonet.vision_language.checkpoints import convert_checkpoint

    folder = convert_checkpoint(
        options.source, options.out, tokenizer=options.tokenizer, said=options.said(), text=options.text,
        image=options.image, overwrite=options.overwrite,
    )  # fmt: skip
    print(f"{folder}: written; `timix info --path {folder}` says what it holds")
    return 0
