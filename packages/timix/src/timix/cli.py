"""The command `timix`: names its verbs; a verb's code is loaded when the verb is asked for."""

from importlib.metadata import version

from nonet.cli import Verb
from nonet.cli import main as run_command

PROG = "timix"

ABOUT = "Train image-text models on fewer and noisier pairs, by mixing images where their texts say so."

VERBS = {
    "demo": Verb(
        "train on made-up scenes with wrong captions, with and without mixing",
        "timix.commands.demo",
        "timix demo",
    ),
    "prepare": Verb(
        "check pairs and regions, make a tokenizer, pack shards",
        "timix.commands.prepare",
        "timix prepare --pairs pairs.jsonl --out data",
    ),
    "pretrain": Verb(
        "train an image-text model on pairs, with mixed images",
        "timix.commands.pretrain",
        "timix pretrain --pairs pairs.jsonl --regions regions.jsonl",
    ),
    "preview": Verb(
        "draw what is cut, where it is pasted, and what the mixed label is",
        "timix.commands.preview",
        "timix preview --pairs pairs.jsonl --out mixed.png",
    ),
    "finetune": Verb(
        "fine-tune on a task: retrieval, vqa, caption, nlvr2, grounding",
        "timix.commands.finetune",
        "timix finetune retrieval --model runs/timix/pretrain-1/model --train train.json",
    ),
    "evaluate": Verb(
        "score a model on a task, without training too: retrieval, vqa, caption, nlvr2, grounding",
        "timix.commands.evaluate",
        "timix evaluate retrieval --model runs/timix/pretrain-1/model --data test.json",
    ),
    "predict": Verb(
        "write similarities, answers, captions or boxes for a file of images and texts",
        "timix.commands.predict",
        "timix predict retrieval --model runs/timix/pretrain-1/model --input pairs.jsonl --out scores.jsonl",
    ),
    "convert": Verb(
        "read a checkpoint of ALBEF, mPLUG or CLIP into a model folder",
        "timix.commands.convert",
        "timix convert mplug_base.pth --out model",
    ),
    "export": Verb(
        "write image and text encoder as ONNX, or as folders for transformers and timm",
        "timix.commands.export",
        "timix export --model runs/timix/pretrain-1/model --format onnx --out encoders",
    ),
    "info": Verb(
        "say what a model or run folder holds",
        "timix.commands.info",
        "timix info --path runs/timix/pretrain-1",
    ),
}


def main() -> int:
    """Run the command line; the result is the exit code."""
    return run_command(PROG, ABOUT, version("timix"), VERBS, presets="timix")


if __name__ == "__main__":
    raise SystemExit(main())
