"""The command `updetr`: names its verbs; a verb's code is loaded when the verb is asked for."""

from importlib.metadata import version

from nonet.cli import Verb
from nonet.cli import main as run_command

PROG = "updetr"

ABOUT = "Pre-train a detection transformer without labels, fine-tune it on few boxes, find things with it."

VERBS = {
    "demo": Verb(
        "pre-train, fine-tune and compare with a detector from scratch, on small made-up pictures",
        "updetr.commands.demo",
        "updetr demo",
    ),
    "backbone": Verb(
        "train a convolutional backbone without labels, where none is at hand",
        "updetr.commands.backbone",
        "updetr backbone --images photos --backbone resnet18",
    ),
    "pretrain": Verb(
        "pre-train a detector on images without labels: find patches of an image in it",
        "updetr.commands.pretrain",
        "updetr pretrain --images photos --backbone resnet50 --backbone-weights swav.pth",
    ),
    "show-pretext": Verb(
        "draw what pre-training sees: images, their patches, true and predicted boxes",
        "updetr.commands.show_pretext",
        "updetr show-pretext --images photos --out pretext.png",
    ),
    "finetune": Verb(
        "fine-tune on labelled boxes, all of them or a few",
        "updetr.commands.finetune",
        "updetr finetune --data coco:train.json,images --init runs/updetr/pretrain-1/model",
    ),
    "evaluate": Verb(
        "score a detector on labelled images: COCO's twelve numbers, VOC's, those of each class",
        "updetr.commands.evaluate",
        "updetr evaluate --model runs/updetr/finetune-1/model --data coco:val.json,images",
    ),
    "predict": Verb(
        "find objects in images; writes COCO, VOC or YOLO files, and pictures",
        "updetr.commands.predict",
        "updetr predict photos --model runs/updetr/finetune-1/model --out found --draw",
    ),
    "locate": Verb(
        "find a crop in an image with a pre-trained model, without any label",
        "updetr.commands.locate",
        "updetr locate image.jpg --model runs/updetr/pretrain-1/model --patch 10,20,64,64",
    ),
    "oneshot": Verb(
        "find objects of a class never trained on, given one picture of it: train, evaluate",
        "updetr.commands.oneshot",
        "updetr oneshot train --data voc:VOCdevkit/VOC2007:trainval --init runs/updetr/pretrain-1/model",
    ),
    "panoptic": Verb(
        "add a mask head to a fine-tuned detector and segment things and stuff: train, evaluate, predict",
        "updetr.commands.panoptic",
        "updetr panoptic train --data panoptic.json --model runs/updetr/finetune-1/model",
    ),
    "data": Verb(
        "check, convert, count or split labelled images: COCO, VOC, YOLO",
        "updetr.commands.data",
        "updetr data check --data voc:BCCD:train",
    ),
    "convert": Verb(
        "read a checkpoint of the original code, or a detector of transformers, into a model folder",
        "updetr.commands.convert",
        "updetr convert up-detr.pth --out model",
    ),
    "export": Verb(
        "write a model as a folder for transformers, or as ONNX",
        "updetr.commands.export",
        "updetr export hf --model runs/updetr/finetune-1/model --out detector",
    ),
    "doctor": Verb(
        "say why a detector finds nothing: data, classes, queries, rates, a test of overfitting",
        "updetr.commands.doctor",
        "updetr doctor --run runs/updetr/finetune-1",
    ),
    "info": Verb(
        "say what a model or run folder holds",
        "updetr.commands.info",
        "updetr info --path runs/updetr/pretrain-1",
    ),
}


def main() -> int:
    """Run the command line; the result is the exit code."""
    return run_command(PROG, ABOUT, version("updetr"), VERBS, presets="updetr")


if __name__ == "__main__":
    raise SystemExit(main())
