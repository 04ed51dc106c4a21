"""Slim models as folders: saved and loaded equal, with cap-prune, without it, and for the Auto classes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers

sys.path.insert(0, str(Path(__file__).parent / "support"))
from tiny_encoders import HEADS, KINDS, LAYERS, NEURONS, PRUNED, numbers, tiny

from cap_prune.architectures import NAMES, units_of
from cap_prune.slim_models import DENSE_OF, MODELS, SLIM_OF, register
from cap_prune.slimming import slim
from cap_prune.toy import tokenizer
from cap_prune.units import Units
from nonet.training.hub import no_bars


@pytest.fixture(autouse=True)
def quiet():
    with no_bars():
        yield


def saved(folder, kind, head="ForSequenceClassification"):
    model = tiny(kind, head)
    slim(model, PRUNED)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("head", KINDS)
def test_a_saved_slim_model_is_loaded_equal(tmp_path, kind, head):
    model = saved(tmp_path, kind, head)
    again, account = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert type(again) is SLIM_OF[DENSE_OF[type(model)]]
    assert not any(account[each] for each in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert units_of(again) == PRUNED
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))
    assert (numbers(again.eval()) - numbers(model)).abs().max() <= 1e-6
    assert [each.numel() for each in again.parameters()] == [each.numel() for each in model.parameters()]


@pytest.mark.parametrize("kind", NAMES)
def test_all_units_give_the_encoder_of_transformers(kind):
    dense = tiny(kind, "Model")
    config = SLIM_OF[type(dense)].config_class(**{**plain(dense.config), "cap_units": None})
    full = Units.full(LAYERS, HEADS, NEURONS).to_dict()
    for units in (None, full):
        config.cap_units = units
        model = SLIM_OF[type(dense)](config).eval()
        model.load_state_dict(dense.state_dict())
        assert torch.equal(numbers(model), numbers(dense))


def plain(config):
    return {name: value for name, value in config.to_dict().items() if name != "model_type"}


def test_auto_classes_load_slim_models_by_their_type(tmp_path):
    register()
    register()  # again: it does no harm
    model = saved(tmp_path, "electra")
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert type(again) is type(model)
    assert (numbers(again) - numbers(model)).abs().max() <= 1e-6
    headless = transformers.AutoModel.from_pretrained(tmp_path).eval()
    assert (numbers(headless) - numbers(model.electra)).abs().max() <= 1e-6


def test_a_loaded_slim_model_is_pruned_on_from_its_record(tmp_path):
    saved(tmp_path, "bert")
    again = type(tiny("bert"))  # the dense class, for the comparison
    loaded = SLIM_OF[again].from_pretrained(tmp_path).eval()
    further = Units(((3,), (), (1,)), ((6,), (3,), ()), HEADS, NEURONS)
    slim(loaded, further)
    straight = tiny("bert")
    slim(straight, further)
    assert (numbers(loaded) - numbers(straight)).abs().max() <= 1e-6
    assert loaded.config.cap_units == further.to_dict()


def test_the_dense_class_refuses_a_slim_folder_rather_than_fill_it_with_noise(tmp_path):
    model = saved(tmp_path, "bert")
    transformers.logging.set_verbosity_error()
    try:
        with pytest.raises(RuntimeError, match="size"):
            DENSE_OF[type(model)].from_pretrained(tmp_path)
    finally:
        transformers.logging.set_verbosity_warning()


def test_the_config_names_the_code_beside_it(tmp_path):
    saved(tmp_path, "distilbert")
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == "cap_distilbert"
    assert config["auto_map"] == {
        "AutoConfig": "slim_models.CapDistilBertConfig",
        "AutoModel": "slim_models.CapDistilBertModel",
        "AutoModelForSequenceClassification": "slim_models.CapDistilBertForSequenceClassification",
    }
    assert {"slim_models.py", "layer_names.py"} <= {path.name for path in tmp_path.iterdir()}
    for name in ("slim_models.py", "layer_names.py"):
        assert "import cap_prune" not in (tmp_path / name).read_text()
        assert "from cap_prune" not in (tmp_path / name).read_text()


def test_every_architecture_has_a_slim_class_for_every_head():
    assert {each.__name__ for each in MODELS} == {
        f"Cap{family}{head}" for family in ("Bert", "Roberta", "DistilBert", "Electra") for head in KINDS
    }
    assert all(each.__name__ == f"Cap{dense.__name__}" for each, dense in DENSE_OF.items())


ALONE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("cap_prune", "nonet"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
folder, package, wanted = sys.argv[1:]
for trust, where in ((False, folder), (True, package)):
    try:
        AutoModelForSequenceClassification.from_pretrained(where, trust_remote_code=trust)
    except (ValueError, ImportError) as error:
        print(type(error).__name__, " ".join(str(error).split()))
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
with torch.no_grad():
    logits = model(**tokenizer(["the lion is good", "the oak"], padding=True, return_tensors="pt")).logits
print("equal" if torch.allclose(logits, torch.load(wanted), atol=1e-6) else "different")
"""


@pytest.mark.slow  # a process of its own imports transformers anew
def test_without_cap_prune_trusted_code_loads_the_model_or_the_error_names_the_package(
    tmp_path,
):
    from cap_prune.exporting import export
    from cap_prune.toy import new_bert

    model, words = new_bert(layers=2), tokenizer()
    slim(model, Units(((0, 2), ()), ((3, 60), (1,)), 4, 64))
    export(model, words, tmp_path / "inside")
    export(model, words, tmp_path / "package", code="package")
    with torch.no_grad():
        inputs = words(["the lion is good", "the oak"], padding=True, return_tensors="pt")
        torch.save(model(**inputs).logits, tmp_path / "logits.pt")
    arguments = [str(tmp_path / name) for name in ("inside", "package", "logits.pt")]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *arguments], capture_output=True, text=True, timeout=300, check=False,
        env={"HF_HOME": str(tmp_path / "hub"), "PATH": "", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    untrusted, package, proof = done.stdout.splitlines()
    assert "trust_remote_code=True" in untrusted
    assert package.startswith("ImportError")
    assert "pip install cap_prune" in package
    assert proof == "equal"
