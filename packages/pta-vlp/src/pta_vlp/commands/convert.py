"""The verb `convert`: a checkpoint of others as a model folder of ours."""

from dataclasses import dataclass

from nonet.vision_language.folder_options import ConvertOptions


@dataclass(frozen=True, kw_only=True)
class Options(ConvertOptions):
    """Read a checkpoint of the code of ALBEF, mPLUG or TiMix, or the vision transformer of a CLIP, into a
    model folder, and account for every weight. Nothing in a checkpoint is run. A patch detector is kept, if
    there is one; else `pta-vlp detector` trains one on the folder.
    """


def run(options: Options) -> int:
    """Convert, say what was found, assumed and left out, write the folder."""
    from nonet.vision_language.checkpoints import convert_checkpoint
    from nonet.vision_language.patch_detector import PREDICTOR

    folder = convert_checkpoint(
        options.source, options.out, tokenizer=options.tokenizer, said=options.said(), text=options.text,
        image=options.image, overwrite=options.overwrite,
    )  # fmt: skip
    if not (folder / f"{PREDICTOR}.safetensors").is_file():
        print("no patch detector: patches are selected by attention until `pta-vlp detector` has trained one")
    print(f"{folder}: written; `pta-vlp info --path {folder}` says what it holds")
    return 0
