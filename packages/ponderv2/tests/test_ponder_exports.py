"""Exports that are read back, and what folders are said to hold."""

import sys
from pathlib import Path

import pytest
import torch

from nonet.errors import RunFailed, UserError
from nonet.testing import call_cli
from ponderv2 import exporting
from ponderv2.exporting import export, pointcept_checkpoint
from ponderv2.holdings import holdings
from ponderv2.model_config import size
from ponderv2.model_folders import load_backbone, read_model, save_model
from ponderv2.ponder import build_ponder
from ponderv2.spunet import build_spunet

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from small_runs import rooms

FACTS = {
    "verb": "pretrain", "supervision": "none", "channels": ["color", "normal"], "voxel": 0.02,
    "classes": {"scannet": ["wall", "floor"]}, "scores": {"val/psnr": 12.5}, "scenes": {"scannet": 3},
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Models with one norm and with prompted norms; no weight is as it began."""
    root = tmp_path_factory.mktemp("models")
    found = {}
    for name, datasets in (("plain", ()), ("prompted", ("scannet", "s3dis", "structured3d"))):
        torch.manual_seed(1)
        model = build_ponder(size("tiny", datasets=datasets))
        for value in model.state_dict().values():
            if value.dtype == torch.float32:
                value.add_(torch.rand_like(value) * 0.01)
        found[name] = save_model(root / name, model.eval(), FACTS), model
    return found


@pytest.mark.parametrize("name", ["plain", "prompted"])
def test_our_layout_gives_the_same_backbone(name, folders, tmp_path):
    folder, model = folders[name]
    told = export(str(folder), tmp_path / "backbone", "safetensors")
    assert "read back and equal" in told
    found = read_model(tmp_path / "backbone")
    assert found.kind == "backbone"
    assert found.facts["voxel"] == 0.02
    backbone = build_spunet(found.backbone())
    account = load_backbone(backbone, tmp_path / "backbone", say=lambda text: None)
    assert not account.missing
    assert not account.unexpected
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(backbone.state_dict()[key], value), key


@pytest.mark.parametrize("name", ["plain", "prompted"])
def test_a_checkpoint_of_pointcept_gives_the_same_backbone(name, folders, tmp_path):
    folder, model = folders[name]
    export(str(folder), tmp_path / "backbone.pth", "pointcept")
    state = torch.load(tmp_path / "backbone.pth", weights_only=True)["state_dict"]
    assert all(key.startswith("module.") for key in state)
    stem = "module.backbone.conv_input." + ("conv" if name == "prompted" else "0")
    assert state[f"{stem}.weight"].shape == (16, 5, 5, 5, 6)
    backbone = build_spunet(model.config.backbone)
    if name == "plain":
        load_backbone(backbone, tmp_path / "backbone.pth", say=lambda text: None)
        backbone.eval()
        cells = torch.unique(torch.randint(0, 12, (200, 3)), dim=0)
        cells = torch.cat([torch.zeros(len(cells), 1, dtype=torch.int64), cells], 1)
        features = torch.randn(len(cells), 6)
        with torch.no_grad():
            assert torch.equal(backbone(features, cells), model.backbone.eval()(features, cells))
    else:
        assert state["module.embedding_table.weight"].shape == (3, 32)
        row = model.backbone.state_dict()["contexts.structured3d"]  # the released table begins with it
        assert torch.equal(state["module.embedding_table.weight"][0], row)


def test_a_tap_lies_where_spconv_looks_for_it(folders):
    """Voxels of Pointcept are (batch, x, y, z), its kernel (out, x, y, z, in); our taps run over z, y, x."""
    _, model = folders["plain"]
    state = model.backbone.state_dict()
    theirs = pointcept_checkpoint(model.config.backbone, state)["module.backbone.conv_input.0.weight"]
    x, y, z = 1, 2, 4
    assert torch.equal(theirs[:, x, y, z], state["stem.conv.weight"][z * 25 + y * 5 + x].T)


def test_what_reads_otherwise_is_not_left_there(folders, tmp_path, monkeypatch):
    folder, _ = folders["plain"]
    true = exporting.pointcept_checkpoint

    def other(config, state):
        found = true(config, state)
        found["module.backbone.conv_input.0.weight"] = found["module.backbone.conv_input.0.weight"] * 2
        return found

    monkeypatch.setattr(exporting, "pointcept_checkpoint", other)
    with pytest.raises(RunFailed, match=r"stem\.conv\.weight read otherwise"):
        export(str(folder), tmp_path / "b.pth", "pointcept")
    assert list(tmp_path.iterdir()) == []


def test_exports_that_cannot_be_are_refused(folders, tmp_path):
    folder, _ = folders["plain"]
    with pytest.raises(UserError, match=r"end its name in \.pth"):
        export(str(folder), tmp_path / "b", "pointcept")
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="exists already"):
        export(str(folder), tmp_path / "there", "safetensors")
    done = call_cli("ponderv2", "export", "--model", tmp_path / "absent", "--out", tmp_path / "b")
    assert done.returncode == 2
    assert "absent" in done.stderr


# ------------------------------------------------------------------------------------------------------- info


def test_info_tells_kind_sizes_training_and_weights(folders):
    folder, model = folders["plain"]
    told = holdings(folder)
    assert told["model"] == {"kind": "ponder", "classes of scannet": "wall, floor"}
    assert told["sizes"]["backbone.channels"] == "16, 32, 48, 48, 32, 32"
    assert told["training"]["supervision"] == "none"
    assert told["scores"] == {"val/psnr": 12.5}
    count = sum(value.numel() for value in model.state_dict().values())
    assert f"{count:,} numbers" in told["weights"]["model.safetensors"]


def test_info_tells_of_packed_scenes(tmp_path):
    done = call_cli(
        "ponderv2", "prepare", "--data", "synthetic:1", "--image-side", "16", "--out", tmp_path / "p"
    )
    assert done.returncode == 0, done.stderr
    done = call_cli("ponderv2", "info", "--path", tmp_path / "p")
    assert "scenes  1" in done.stdout
    assert "views            8" in done.stdout
    assert len(rooms("x", each=1)) == 1


def test_info_refuses_what_is_neither(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(UserError, match=r"neither a model.*a\.txt"):
        holdings(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        holdings(tmp_path / "absent")
