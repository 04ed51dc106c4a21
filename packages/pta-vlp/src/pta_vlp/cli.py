"""The command `pta-vlp`: names its verbs; a verb's code is loaded when the verb is asked for."""

from importlib.metadata import version

from nonet.cli import Verb
from nonet.cli import main as run_command

PROG = "pta-vlp"

ABOUT = "Keep the image patches that a text asks for, drop the others half-way, and pay for what is left."

VERBS = {
    "demo": Verb(
        "train on made-up scenes, drop patches with and without the text, and show what is kept",
        "pta_vlp.commands.demo",
        "pta-vlp demo",
    ),
    "prepare": Verb(
        "check pairs and regions, make a tokenizer, pack shards",
        "pta_vlp.commands.prepare",
        "pta-vlp prepare --pairs pairs.jsonl --out data",
    ),
    "regions build": Verb(
        "make a file of regions of COCO, Visual Genome, Flickr30k Entities or RefCOCO",
        "pta_vlp.commands.regions_build",
        "pta-vlp regions build --coco instances.json --captions captions.json --out regions.jsonl",
    ),
    "regions check": Verb(
        "say how many regions there are, which boxes are wrong, and how much of an image they cover",
        "pta_vlp.commands.regions_check",
        "pta-vlp regions check regions.jsonl --images photos",
    ),
    "pretrain": Verb(
        "train an image-text model and its patch detector on pairs and regions",
        "pta_vlp.commands.pretrain",
        "pta-vlp pretrain --pairs pairs.jsonl --regions regions.jsonl",
    ),
    "detector": Verb(
        "train a patch detector alone, on a model that stays as it is",
        "pta_vlp.commands.detector",
        "pta-vlp detector --model albef --regions regions.jsonl",
    ),
    "finetune": Verb(
        "fine-tune with fewer patches on a task: retrieval, vqa, caption, nlvr2, grounding",
        "pta_vlp.commands.finetune",
        "pta-vlp finetune vqa --model runs/pta-vlp/pretrain-1/model --train train.json",
    ),
    "evaluate": Verb(
        "score a model on a task at one or several shares of patches",
        "pta_vlp.commands.evaluate",
        "pta-vlp evaluate vqa --model runs/pta-vlp/finetune-1/model --data test.json --keep 0.3 0.5 1",
    ),
    "predict": Verb(
        "write similarities, answers, captions or boxes for a file of images and texts",
        "pta_vlp.commands.predict",
        "pta-vlp predict vqa --model runs/pta-vlp/finetune-1 --input questions.jsonl --out answers.jsonl",
    ),
    "heatmap": Verb(
        "draw which patches of an image a text asks for, and which are kept",
        "pta_vlp.commands.heatmap",
        "pta-vlp heatmap photo.jpg --model runs/pta-vlp/pretrain-1/model --text 'the left dog' --out map.png",
    ),
    "convert": Verb(
        "read a checkpoint of ALBEF, mPLUG or CLIP into a model folder",
        "pta_vlp.commands.convert",
        "pta-vlp convert mplug_base.pth --out model",
    ),
    "export": Verb(
        "write image and text encoder as ONNX, or as folders for transformers and timm",
        "pta_vlp.commands.export",
        "pta-vlp export --model runs/pta-vlp/pretrain-1/model --format onnx --out encoders",
    ),
    "info": Verb(
        "say what a model or run folder holds, and what its patches cost",
        "pta_vlp.commands.info",
        "pta-vlp info --path runs/pta-vlp/pretrain-1",
    ),
    "bench": Verb(
        "measure a model on this machine: speed and boxes kept at several shares of patches",
        "pta_vlp.commands.bench",
        "pta-vlp bench --model runs/pta-vlp/pretrain-1/model",
    ),
}


def main() -> int:
    """Run the command line; the result is the exit code."""
    return run_command(PROG, ABOUT, version("pta-vlp"), VERBS, presets="pta_vlp")


if __name__ == "__main__":
    raise SystemExit(main())
