"""The verbs teacher, prune and resume from options to folders, and what they refuse before there is a run."""

import json
import shutil
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from cap_prune import toy
from cap_prune.architectures import units_of
from cap_prune.commands import prune, resume, teacher
from cap_prune.levels import density_name, levels_of, read_facts, step_name
from cap_prune.loading import load_model
from cap_prune.mask_options import MaskOptions
from cap_prune.train_options import LossOptions
from nonet.errors import UserError
from nonet.options import build, read
from nonet.runs import read_metrics, read_record
from nonet.testing import run_cli
from nonet.training.options import OptimizerOptions, TrainerOptions

SHAPE = {"layers": 2, "width": 16, "heads": 2, "neurons": 16}
RUN = {
    "task": "classify", "max_length": 24, "batch": 10, "epochs": 0,
    "optimizer": OptimizerOptions(lr=1e-3, schedule="linear"),
    "trainer": TrainerOptions(steps=2, clip=1.0, validate_every=0, checkpoint_every=1, accelerator="cpu"),
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def quiet():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NONET_PROGRESS", "0")
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an encoder, its task, a teacher of two steps, and a student pruned from the encoder."""
    folder = tmp_path_factory.mktemp("place")
    toy.write_encoder(folder / "encoder", **SHAPE)
    toy.write_task(folder / "task", train=24, dev=12)
    common = {**RUN, "model": str(folder / "encoder"), "data": folder / "task"}
    teacher.run(teacher.Options(**common, out=folder / "teacher"))
    prune.run(student(folder, out=folder / "student"))
    return folder


def student(folder, **values):
    values = {
        "model": str(folder / "encoder"), "teacher": str(folder / "teacher" / "model"),
        "data": folder / "task", "targets": "25,50", "force": True, "loss": LossOptions(extra=8), **values,
    }  # fmt: skip
    return prune.Options(**RUN | values)


def test_a_teacher_is_a_model_that_knows_its_task_and_has_a_card(place):
    model, tokenizer = load_model(place / "teacher" / "model")
    assert units_of(model).whole
    assert tokenizer.pad_token_id == 0
    assert model.config.cap_task["task"] == "classify"
    assert model.config.cap_task["max_length"] == 24
    assert model.config.id2label == {0: "negative", 1: "positive"}
    card = (place / "teacher" / "model" / "README.md").read_text(encoding="utf-8")
    assert "fine-tuned for classify" in card
    assert "accuracy" in card
    assert "dev/accuracy" in read_metrics(place / "teacher")[-1]


def test_a_run_of_prune_has_every_level_pages_and_the_last_one_as_model(place):
    run = place / "student"
    assert [folder.name for folder in levels_of(run)] == ["step-25", "step-50"]
    assert read_facts(run / "model") == read_facts(run / "step-50")
    assert units_of(load_model(run / "model")[0]).live_heads == 2
    facts = read_facts(run / "step-25")
    assert (facts["task"], facts["primary"], facts["seed"]) == ("classify", "accuracy", 0)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "accuracy by sparsity" in page
    assert "live heads" in page
    assert (run / "losses.html").exists()
    assert read_record(run)["sessions"][-1]["exit"] == 0
    assert not list((run / "checkpoints").glob("step-*"))


def test_all_parts_of_the_loss_are_logged(place):
    last = [line for line in read_metrics(place / "student") if "train/loss" in line][-1]
    parts = [last[f"train/{name}"] for name in ("ce", "kd", "prc", "snc", "fic")]
    assert sum(parts) == pytest.approx(last["train/loss"], rel=1e-5)


def test_what_is_wrong_with_a_forced_teacher_is_in_the_log(place):
    log = (place / "student" / "log.txt").read_text(encoding="utf-8")
    assert "the most frequent label's" in log
    assert log.count("every one is a candidate") == 0


def test_more_extra_examples_than_there_are_is_said_once(place, tmp_path):
    prune.run(student(place, out=tmp_path / "run", targets=(50,), loss=LossOptions(extra=1000)))
    log = (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    assert log.count("1000 extra examples are more than the 24 there are") == 1


def test_resume_makes_what_an_interrupted_run_lacks(place, tmp_path, monkeypatch):
    from cap_prune import structured

    whole = structured.save_level

    def killed(folder, *arguments, **options):
        if folder.name == "step-50":
            raise KeyboardInterrupt
        return whole(folder, *arguments, **options)

    monkeypatch.setattr(structured, "save_level", killed)
    with pytest.raises(KeyboardInterrupt):
        prune.run(student(place, out=tmp_path / "run"))
    monkeypatch.undo()
    assert [folder.name for folder in levels_of(tmp_path / "run")] == ["step-25"]
    assert resume.run(resume.Options(run=tmp_path)) == 0
    for name in ("step-25", "step-50", "model"):
        mine, theirs = (run / name / "model.safetensors" for run in (tmp_path / "run", place / "student"))
        assert mine.read_bytes() == theirs.read_bytes()
    assert [session["exit"] for session in read_record(tmp_path / "run")["sessions"]] == [130, 0]


class Begun(Exception):
    """A run went on."""


@pytest.fixture
def not_begun(monkeypatch):
    """Whoever goes on with a run begins with its data."""

    def begun(options):
        raise Begun

    for module in ("prune_run", "teacher_run"):
        monkeypatch.setattr(f"cap_prune.{module}.prepare", begun)


@pytest.mark.parametrize(
    ("run", "lacking"),
    [
        ("teacher", "model"), ("teacher", "report.html"), ("student", "model"), ("student", "step-25"),
        ("student", "step-50"), ("student", "report.html"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("not_begun")
def test_resume_leaves_a_finished_run_as_it_is_and_no_other(run, lacking, place, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(place / run, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert resume.run(resume.Options(run=folder)) == 0
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    said = capsys.readouterr()
    assert said.out == f"{folder}\n"
    assert said.err == f"{folder}: finished already; nothing is left to do\n"
    (folder / lacking).rename(tmp_path / "away")
    with pytest.raises(Begun):
        resume.run(resume.Options(run=folder))


def test_resume_makes_model_anew_where_it_is_an_earlier_level(place, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(place / "student", folder)
    shutil.rmtree(folder / "model")
    shutil.copytree(folder / "step-25", folder / "model")
    resume.run(resume.Options(run=folder))
    assert read_facts(folder / "model") == read_facts(folder / "step-50")


def test_resume_refuses_what_is_no_run_of_its_own(tmp_path):
    with pytest.raises(UserError, match="no run to go on with"):
        resume.run(resume.Options(run=tmp_path))
    record = {"package": "other", "verb": "prune", "sessions": [{}]}
    (tmp_path / "run.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(UserError, match="a run of other prune; cap-prune goes on with prune and teacher"):
        resume.run(resume.Options(run=tmp_path))


def test_single_weights_are_pruned_by_the_same_verb(place, tmp_path, request, capsys):
    prune.run(
        student(
            place, out=tmp_path / "run", targets=None, method="magnitude",
            masks=MaskOptions(density=(0.5,), dense_share=0.0, cool_share=0.5),
        )
    )  # fmt: skip
    (level,) = levels_of(tmp_path / "run")
    assert level.name == "density-0.50"
    assert read_facts(tmp_path / "run" / "model")["density"] == 0.5
    weight = load_model(level)[0].base_model.encoder.layer[0].output.dense.weight
    assert int((weight != 0).sum()) == weight.numel() // 2
    request.getfixturevalue("not_begun")
    resume.run(resume.Options(run=tmp_path / "run"))
    assert "finished already" in capsys.readouterr().err
    shutil.rmtree(level)
    with pytest.raises(Begun):
        resume.run(resume.Options(run=tmp_path / "run"))


@pytest.mark.parametrize("where", ["file", "cpu"])
def test_banks_in_a_file_or_in_memory_give_the_same_run_and_the_file_is_gone(place, tmp_path, where):
    from cap_prune import prune_run

    seen = []

    class Watched(prune_run.Banks):
        def finish(self, name):
            super().finish(name)
            stored = tmp_path / "run" / "cache" / "banks"
            seen.append((name, stored.stat().st_size if stored.exists() else None))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prune_run, "Banks", Watched)
        prune.run(student(place, out=tmp_path / "run", loss=LossOptions(extra=8, bank_device=where)))
    size = 24 * 3 * 16 * 2 if where == "file" else None  # examples, banks, width, bytes
    assert seen == [(name, size) for name in ("fine", "pre", "snap-1")]
    assert not (tmp_path / "run" / "cache" / "banks").exists()
    for name in ("step-25", "step-50", "model"):
        mine, theirs = (run / name / "model.safetensors" for run in (tmp_path / "run", place / "student"))
        assert mine.read_bytes() == theirs.read_bytes()


@pytest.mark.slow
def test_two_processes_prune_as_one_does(place, tmp_path):
    common = (
        "prune", "--model", place / "encoder", "--teacher", place / "teacher" / "model", "--force",
        "--task", "classify", "--data", place / "task", "--targets", "25,50", "--epochs", 0,
        "--trainer.steps", 3,
        "--batch", 8, "--max-length", 24, "--loss.extra", 8, "--trainer.accelerator", "cpu",
        "--optimizer.lr", "1e-3", "--optimizer.eps", "1e-4",
    )  # fmt: skip
    for name, count in (("one", 1), ("two", 2)):
        out = tmp_path / name
        done = run_cli("cap_prune", *common, "--trainer.devices", count, "--out", out, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    for level in ("step-25", "step-50"):
        one, two = (tmp_path / name / level for name in ("one", "two"))
        assert read_facts(one)["units"] == read_facts(two)["units"]
        mine, theirs = (load_model(folder)[0].state_dict() for folder in (one, two))
        for name, value in mine.items():
            torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-5)


def test_without_a_teacher_a_student_learns_from_labels_alone(place, tmp_path):
    prune.run(student(place, out=tmp_path / "run", teacher=None, targets=(50.0,), loss=LossOptions(extra=8)))
    lines = read_metrics(tmp_path / "run")
    assert "train/kd" not in lines[0]
    assert "train/fic" not in lines[0]
    assert "train/prc" in lines[0]


def test_a_teacher_with_other_tokens_reads_the_same_examples_in_its_own(place, tmp_path):
    from cap_prune.preparing import prepare
    from cap_prune.teachers import load_teacher

    model, words = load_model(place / "teacher" / "model")
    backend = json.loads(words.backend_tokenizer.to_str())
    backend["post_processor"] = None  # neither [CLS] nor [SEP]
    model.save_pretrained(tmp_path / "teacher")
    words.save_pretrained(tmp_path / "teacher")
    (tmp_path / "teacher" / "tokenizer.json").write_text(json.dumps(backend), encoding="utf-8")
    options = student(place, train_size=9)
    parts = prepare(options)
    found = load_teacher(str(tmp_path / "teacher"), options, parts, fic=True, force=True)
    assert [len(ids) + 2 for ids in found.examples.ids] == [len(ids) for ids in parts.train.ids]
    assert found.examples.labels.tolist() == parts.train.labels.tolist()
    assert len(load_teacher(options.teacher, options, parts, fic=True, force=True).examples) == 9


REFUSED = {
    "targets of everything": ({"targets": (50, 100)}, "target 100 is not possible"),
    "heads that a layer needs": ({"targets": (90,)}, "would leave 1 of 4 heads, and 2 are needed"),
    "targets that do not ascend": ({"targets": "50,25"}, "target 25 comes after 50"),
    "a target twice": ({"targets": (50, 50)}, "target 50 is there twice"),
    "a teacher at chance": ({"force": False}, "the teacher's accuracy is .* --force to go on"),
    "no such data": ({"data": Path("nowhere")}, "nowhere: no such file or folder"),
    "too long texts": ({"max_length": 500}, "max_length is 500"),
    "no such model": ({"model": "./nowhere"}, "nowhere"),
    "another task": ({"task": "sst3"}, "no task 'sst3'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_before_there_is_a_run(case, place, tmp_path, monkeypatch):
    values, text = REFUSED[case]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=text):
        prune.run(student(place, out=tmp_path / "run", **values))
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "runs").exists()


def test_a_file_alone_is_not_scored_on_what_was_learnt(place, tmp_path):
    with pytest.raises(UserError, match=r"train\.jsonl: is one file; name another to score on with --dev"):
        prune.run(student(place, out=tmp_path / "run", data=place / "task" / "train.jsonl"))


def test_a_teacher_of_other_labels_is_refused_with_both(place, tmp_path):
    model, words = load_model(place / "teacher" / "model")
    model.config.id2label = {0: "good", 1: "bad"}
    model.save_pretrained(tmp_path / "teacher")
    words.save_pretrained(tmp_path / "teacher")
    with pytest.raises(UserError, match=r"'good', 'bad'.*'negative', 'positive'"):
        prune.run(student(place, out=tmp_path / "run", teacher=str(tmp_path / "teacher"), force=True))


def test_a_wider_teacher_is_refused_with_fic_and_teaches_without(place, tmp_path):
    toy.write_encoder(tmp_path / "wide", **SHAPE | {"width": 32})
    wide = {"teacher": str(tmp_path / "wide"), "targets": (50.0,)}
    with pytest.raises(UserError, match=r"hidden size is 32, the student's 16.*--loss\.no-fic"):
        prune.run(student(place, out=tmp_path / "run", **wide))
    prune.run(student(place, out=tmp_path / "run", **wide, loss=LossOptions(extra=8, fic=False)))
    assert "train/kd" in read_metrics(tmp_path / "run")[0]


def test_a_regression_switches_the_supervised_contrast_off_and_says_so(place, tmp_path):
    rows = [{"text": row.text, "label": float(number % 5)} for number, row in enumerate(toy.sentences(24))]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    prune.run(
        student(
            place, out=tmp_path / "run", task="regress", data=tmp_path, teacher=None, targets=(50.0,),
            loss=LossOptions(extra=8, lambda_sup=1.0),
        )
    )  # fmt: skip
    assert "the supervised contrast is off" in (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    assert "spearman" in read_facts(tmp_path / "run" / "step-50")["metrics"]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"targets": "fifty"}, "targets are 'fifty'; write percents like 50,70,90"),
        ({"epochs": -1}, "epochs is -1"),
        ({"importance_samples": 0}, "importance_samples is 0"),
        ({"method": "movement"}, "movement needs masks.density"),
        ({"masks": MaskOptions(density=(0.1,))}, "first-order prunes heads and neurons"),
        ({"masks": MaskOptions(every=3)}, "masks are of single weights"),
        ({"method": "movement", "masks": MaskOptions(density=(0.1,)), "targets": "50"}, "targets are of"),
        ({"batch": 0}, "batch is 0"),
        ({"warmup_share": 1.0}, "warmup_share is 1"),
    ],
)  # fmt: skip
def test_options_that_contradict_each_other_are_refused(values, text):
    with pytest.raises(UserError, match=text):
        prune.Options(**{"model": "m", "task": "sst2", "data": Path("d")} | values)


def test_loss_weights_below_zero_and_no_temperature_are_refused():
    with pytest.raises(UserError, match=r"loss\.lambda_pre is -1"):
        LossOptions(lambda_pre=-1)
    with pytest.raises(UserError, match=r"loss\.tau is 0"):
        LossOptions(tau=0)


def test_targets_may_be_written_with_commas_or_as_a_list():
    base = {"model": "m", "task": "sst2", "data": Path("d")}
    assert prune.Options(**base, targets="50,70.5").percents == (50.0, 70.5)
    assert prune.Options(**base).percents == tuple(range(10, 100, 10))
    assert [step_name(each) for each in (5, 50, 97.5)] == ["step-05", "step-50", "step-97.5"]
    assert [density_name(each) for each in (0.1, 0.03, 0.005, 1)] == [
        "density-0.10", "density-0.03", "density-0.005", "density-1.00",
    ]  # fmt: skip


PRESETS = sorted(Path(str(files("cap_prune") / "presets")).glob("*/*.yaml"))


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_preset_loads_and_says_its_command(path):
    verb = {"prune": prune, "teacher": teacher}[path.parent.name]
    options = build(verb.Options, [read(path), ({"model": "m", "task": "sst2", "data": "d"}, "test")])
    assert f"\n# cap-prune {path.parent.name} --preset {path.stem} --model " in path.read_text("utf-8")
    if verb is prune and options.masked:
        options.masks.densities(options.method)


def test_there_are_small_presets_for_single_weights_and_patterns():
    found = {}
    for name in ("tiny-movement", "small-movement", "small-2-4"):
        (path,) = (path for path in PRESETS if path.stem == name)
        base = ({"model": "m", "task": "sst2", "data": "d"}, "test")
        options = build(prune.Options, [read(path), base])
        found[name] = (
            options.method,
            str(options.masks.chosen_pattern),
            options.masks.densities(options.method),
        )
    assert found == {
        "tiny-movement": ("movement", "None", (0.5, 0.3)),
        "small-movement": ("movement", "None", (0.5, 0.2)),
        "small-2-4": ("wanda", "2:4", (0.5,)),
    }


def test_presets_of_the_paper_have_the_released_numbers():
    folder = files("cap_prune") / "presets" / "prune"
    base = ({"model": "m", "task": "sst2", "data": "d"}, "test")
    found = {
        name: build(prune.Options, [read(Path(str(folder / f"paper-{name}.yaml"))), base])
        for name in ("struct-glue", "struct-squad", "movement-qqp", "movement-squad", "soft-qqp")
    }
    # released scripts: batch, rate, decay, passes, T, lambda_u, lambda_s, tau, extra
    assert {name: _numbers(options) for name, options in found.items()} == {
        "struct-glue": (16, 2e-5, 0.01, 2, 1.0, 0.3, 3.0, 0.1, 4096),
        "struct-squad": (16, 3e-5, 0.01, 2, 1.0, 0.3, 0.0, 0.3, 4096),
        "movement-qqp": (32, 3e-5, 0.0, 10, 2.0, 0.1, 10.0, 0.1, 4096),
        "movement-squad": (16, 3e-5, 0.0, 10, 2.0, 0.5, 0.0, 0.1, 4096),
        "soft-qqp": (32, 3e-5, 0.0, 10, 2.0, 0.1, 10.0, 0.1, 4096),
    }
    masks = found["movement-qqp"].masks  # 2 and 3 times 11 000 of 113 700 steps
    assert masks.dense_share == pytest.approx(22000 / 113700, abs=1e-4)
    assert masks.cool_share == pytest.approx(33000 / 113700, abs=1e-4)
    assert all(options.loss.reduction == "released" and not options.bucket for options in found.values())


def _numbers(options):
    loss, rate = options.loss, options.optimizer
    assert loss.lambda_pre == loss.lambda_snap == loss.lambda_fine
    return (
        options.batch, rate.lr, rate.weight_decay, options.passes, loss.kd_temperature, loss.lambda_pre,
        loss.lambda_sup, loss.tau, loss.extra,
    )  # fmt: skip
