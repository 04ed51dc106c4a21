"""The command `ponderv2`: names its verbs; a verb's code is loaded when the verb is asked for."""

from importlib.metadata import version

from nonet.cli import Verb
from nonet.cli import main as run_command

PROG = "ponderv2"

ABOUT = "Pre-train 3D backbones by rendering what they saw, fine-tune them on few labels, make meshes."

VERBS = {
    "demo": Verb(
        "pre-train on made-up rooms by rendering, draw views and a mesh of rooms it never saw",
        "ponderv2.commands.demo",
        "ponderv2 demo",
    ),
    "prepare": Verb(
        "check a data set (poses, depth, units, labels) and pack it for fast reading",
        "ponderv2.commands.prepare",
        "ponderv2 prepare --data scannet:scannet:train --out packed",
    ),
    "pretrain": Verb(
        "pre-train a backbone by rendering colour and depth, with or without labels of images",
        "ponderv2.commands.pretrain",
        "ponderv2 pretrain --data scannet:scannet:train",
    ),
    "finetune semseg": Verb(
        "fine-tune a backbone to label every point",
        "ponderv2.commands.finetune_semseg",
        "ponderv2 finetune semseg --data scannet:scannet:train --val scannet:scannet:val "
        "--init runs/ponderv2/pretrain-1/model",
    ),
    "finetune insseg": Verb(
        "fine-tune a backbone to find objects point by point",
        "ponderv2.commands.finetune_insseg",
        "ponderv2 finetune insseg --data scannet:scannet:train --val scannet:scannet:val "
        "--init runs/ponderv2/pretrain-1/model",
    ),
    "finetune det": Verb(
        "fine-tune a backbone to find objects' boxes, in rooms or on the road",
        "ponderv2.commands.finetune_det",
        "ponderv2 finetune det --data scannet:scannet:train --val scannet:scannet:val "
        "--init runs/ponderv2/pretrain-1/model",
    ),
    "probe": Verb(
        "train one linear layer on a backbone that stays as it is",
        "ponderv2.commands.probe",
        "ponderv2 probe --data scannet:scannet:train --val scannet:scannet:val "
        "--init runs/ponderv2/pretrain-1/model",
    ),
    "evaluate": Verb(
        "score a model on labelled scenes; --tta votes over fragments and views of every point",
        "ponderv2.commands.evaluate",
        "ponderv2 evaluate --model runs/ponderv2/finetune-semseg-1/model --data scannet:scannet:val --tta",
    ),
    "predict": Verb(
        "write labels, instances or boxes for scenes without labels",
        "ponderv2.commands.predict",
        "ponderv2 predict cloud:room.ply --model runs/ponderv2/finetune-semseg-1/model --out predicted",
    ),
    "reconstruct": Verb(
        "make a mesh of a scene from a pre-trained model, and score it",
        "ponderv2.commands.reconstruct",
        "ponderv2 reconstruct --model runs/ponderv2/pretrain-1/model --data rgbd:room --out room.ply",
    ),
    "render": Verb(
        "draw colour, depth, normals and labels at given or new poses",
        "ponderv2.commands.render",
        "ponderv2 render --model runs/ponderv2/pretrain-1/model --data rgbd:room --out pictures",
    ),
    "convert": Verb(
        "read a checkpoint of the original code into a model folder",
        "ponderv2.commands.convert",
        "ponderv2 convert model_best.pth --out model",
    ),
    "export": Verb(
        "write a backbone as safetensors, or as a state dict that Pointcept loads",
        "ponderv2.commands.export",
        "ponderv2 export --model runs/ponderv2/pretrain-1/model --format pointcept --out backbone.pth",
    ),
    "info": Verb(
        "say what a model, run or packed data set holds",
        "ponderv2.commands.info",
        "ponderv2 info --path runs/ponderv2/pretrain-1",
    ),
    "bench": Verb(
        "measure a model on this machine: backbone, volume, rays, memory",
        "ponderv2.commands.bench",
        "ponderv2 bench --model runs/ponderv2/pretrain-1/model",
    ),
}


def main() -> int:
    """Run the command line; the result is the exit code."""
    return run_command(PROG, ABOUT, version("ponderv2"), VERBS, presets="ponderv2")


if __name__ == "__main__":
    raise SystemExit(main())
