"""The command `reid`: which commands there are, their help, and slips, all without a heavy import."""

import functools
import os
import subprocess
import sys

import pytest
from running import PROJECT, run_here

from reid_lightning import __version__
from reid_lightning.commands.catalogue import COMMANDS, CONFIG_DIR, ROOMS
from reid_lightning.commands.command_line import read_words
from reid_lightning.commands.config_files import choices_of, written
from reid_lightning.commands.config_mistakes import _names, mistake_in
from reid_lightning.commands.entry_point import task_of
from reid_lightning.commands.help import help_of, overview

HEAVY = ("torch", "timm", "pytorch_lightning", "matplotlib", "wandb", "numpy", "PIL", "hydra")
QUICK = [
    [],
    ["--help"],
    ["--version"],
    ["trian"],
    ["data"],
    ["data", "reprot"],
    ["train", "--help"],
    ["search", "-h"],
    ["train", "los=circle"],
    ["train", "loss=circel"],
    ["train", "circle"],
    ["train", "-m", "loss=id,crcle"],
    ["register", "source=a.mp4"],
    ["data", "report", "data=veri776"],
]


@functools.cache
def line_of(name):
    return read_words([], command=name, config_name=COMMANDS[name].config, config_dir=str(CONFIG_DIR))


def choices(name):
    """Every choice of every group, those of all groups side by side; files that choose for others alone."""
    groups = written(COMMANDS[name].config, [CONFIG_DIR], {}).choices
    files = {group: choices_of(group, [CONFIG_DIR]) for group in groups}
    alone = {group: files.pop(group) for group in groups if "/" in group or group in ("experiment", "sweep")}
    yield from ({group: name} for group, names in alone.items() for name in names)
    for number in range(max(map(len, files.values()))):
        yield {group: names[number % len(names)] for group, names in files.items()}


@pytest.mark.parametrize("name", ["train", "evaluate", "register", "search"])
def test_the_files_are_read_as_hydra_composes_them(name):
    """What is said of keys without Hydra is what Hydra would say."""
    for chosen in [{}, *choices(name)]:
        composed = line_of(name).composed([f"{group}={choice}" for group, choice in chosen.items()])
        groups = {key: one for key, one in composed.hydra.runtime.choices.items() if not key.startswith("hydra/")}
        found = written(COMMANDS[name].config, [CONFIG_DIR], chosen)
        keys = (found.values(), _names(composed))
        ours, theirs = ({key for key in some if not key.startswith("hydra")} for some in keys)
        assert ours == theirs, chosen
        single = {key: choice for key, choice in found.choices.items() if not isinstance(choice, list)}
        assert single == {key: choice for key, choice in groups.items() if key in single}
        assert groups.keys() <= found.choices.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_work_a_configuration_and_help_with_examples_that_are_right(name):
    command = COMMANDS[name]
    assert callable(task_of(command))
    text = help_of(command)
    assert max(map(len, text.splitlines())) <= 80
    for key in command.keys:
        assert f"\n  {key}=" in text
    for example in command.examples:
        assert f"\n  reid {name} {example}".rstrip() in text.replace("'", "")
        words = example.replace("<run>", "x").replace("<bundle>", "x").split()
        assert mistake_in(words, command) is None, example
    files = written(command.config, [CONFIG_DIR], {"detector": "yolox"})
    assert set(command.keys) <= files.values().keys()


def test_reid_alone_is_one_screen_with_each_command_and_an_example():
    text = overview()
    assert len(text.splitlines()) <= 40
    for name in COMMANDS:
        assert f"  {name.partition(' ')[0]} " in text
    for room in ROOMS:
        assert all(f"reid {name}" in overview(room) for name in COMMANDS if name.startswith(f"{room} "))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian", "loss=id"], "reid has no command 'trian'; did you mean reid train? There are: train,"),
        (["data", "reprot"], "reid data has no command 'reprot'; did you mean reid data report?"),
        (["gallery", "nosuch"], "reid gallery has no command 'nosuch'. There are: list, rename,"),
        (["train", "los=circle"], "there is no key 'los'; did you mean loss?"),
        (["train", "trainer.max_epoch=3"], "trainer=auto has no key 'max_epoch'. Did you mean max_epochs?"),
        (["train", "loss.terms.cirle.weight=1"], "loss.terms has no key 'cirle'. Did you mean circle?"),
        (["train", "input.height.x=1"], "nothing is below input.height, which is 128; write input.height=<value>"),
        (["train", "evaluation.protocol.metric=x"], "is what protocol is; set protocol.metric instead"),
        (["train", "loss=circel"], "loss=circel: there is no such choice. Did you mean circle"),
        (["train", "loss=id,circle"], "Several are the jobs of a sweep: -m."),
        (["train", "-m", "loss=id,crcle"], "loss=crcle: there is no such choice."),
        (["train", "callbacks=[ema,foo]"], "callbacks=foo: there is no such choice."),
        (["train", "model=[a,b]"], "model is [a,b]; expected one choice, no list. There are: alexnet, base,"),
        (["register", "plates=[us,xx]"], "plates=xx: there is no such choice. There are: any, ar,"),
        (["register", "plates=us,ca"], "Several are a list: plates=[us,ca]."),
        (["register", "plates=[]"], "plates is []; expected a choice, or several. There are: any, ar,"),
        (["register", "detector=[motion,yolox]"], "detector is [motion,yolox]; expected one choice, no list."),
        (["train", "loss={a:b}"], "loss={a:b}: there is no such choice."),
        (["train", "loss=id", "loss=circle"], "loss is chosen twice; keep one of loss=id, loss=circle."),
        (["train", "+seed=1"], "seed is there already; write seed=1"),
        (["train", "+experiment=twocam"], "experiment is there already; write experiment=twocam"),
        (["train", "=1"], "'=1' is no setting; expected key=value, such as loss=circle."),
        (["train", "é=1"], "there is no key 'é'"),
        (["train", "data=veri776"], "data.root is missing: the unpacked VeRi-776 folder, e.g. data.root=/data/VeRi."),
        (["train", "hydra.job.num=x"], "hydra.job.num=x: Value 'x'"),
        (["train", "hydra/launcher=foo"], "hydra/launcher=foo: there is no such choice."),
        (["train", "~loss"], "~loss: loss cannot be taken out; set it instead, loss=<choice>."),
        (["train", "--nonsense"], "there is no option --nonsense."),
        (["train", "--experimental-rerun", "config.pickle"], "there is no option --experimental-rerun."),
        (["train", "--config-path", "nowhere"], "--config-path nowhere is no folder"),
        (["register", "camera=north"], "source is missing: a picture, a folder"),
        (["register", "vectors=x", "source=a", "camera=b"], "vectors is called stores now; write stores=..."),
        (["register", "-m", "source=a", "camera=b"], "reid register makes no sweeps"),
    ],
)
def test_a_slip_is_one_message_in_our_words_and_writes_nothing(tmp_path, words, said):
    done = run_here(tmp_path, "reid", *words)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("\nerror: ") and said in done.stderr, done.stderr
    assert "+" not in done.stderr and "override" not in done.stderr and "Traceback" not in done.stderr
    assert not any(tmp_path.iterdir())


def test_what_is_right_is_no_mistake():
    for words in (
        ["experiment=twocam", "data.root=x"],
        ["data=joined", "+data@data.sets.veri776=veri776", "data.sets.veri776.root=x"],
        ["-m", "loss=id,circle", "seed=1,2"],
        ["sweep=optuna", "loader.images_per_identity=2,4"],
        ["callbacks=[ema,early_stopping]", "callbacks.ema.decay=0.9", "~callbacks.ranked_lists"],
        ["+trainer.limit_train_batches=2", "loss=${oc.env:LOSS}", "data=csv", "data.path=a=b?c&d (1).csv"],
    ):
        assert mistake_in(words, COMMANDS["train"]) is None, words
    assert mistake_in(["+model=resnet18", "model.backbone=resnet50"], COMMANDS["evaluate"]) is None


def test_help_and_slips_import_nothing_heavy():
    code = """
import contextlib, io, sys
from reid_lightning.commands.main import main
for words in {words}:
    sys.argv[1:] = words
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()), \\
        contextlib.redirect_stderr(io.StringIO()):
        main()
    assert not sys.modules.keys() & set({heavy}), words
"""
    code = code.format(words=QUICK, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_module_is_the_command_and_a_door_shows_the_same_help(tmp_path):
    assert run_here(tmp_path, "-m", "reid_lightning.commands", "--version").stdout == f"reid_lightning {__version__}\n"
    shown = run_here(tmp_path, "train.py", "--help").stdout
    assert shown == run_here(tmp_path, "reid", "train", "--help").stdout
    assert shown.startswith("reid train [group=choice ...] [key=value ...]\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "more", "run"),
    [
        (["-m", "reid_lightning.commands"], ["hydra.run.dir=run (1)"], "run (1)"),
        (["reid"], ["-m", "seed=0", "hydra.sweep.dir=sweep"], "sweep/0"),
    ],
)
def test_ranks_are_started_by_the_words_that_started_the_first(tmp_path, fleet_root, program, more, run):
    (tmp_path / "reid").write_text("from reid_lightning.commands.main import main\nmain()\n")  # as pip makes it
    words = [f"data.root={fleet_root}", "data.size=tiny", "trainer=ddp_cpu", "trainer.max_epochs=1"]
    words += ["loader.identities_per_batch=2", "loader.images_per_identity=2", "loader.num_workers=0"]
    words += ["input.height=32", "input.width=32", "model.embedding_dim=16", "evaluation.pictures=false"]
    done = subprocess.run(
        [sys.executable, *program, "train", *words, *more],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / run / "bundle/opts.yaml").is_file()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("reid ", {"train", "gallery", "data", "app"}),
        ("reid gallery re", {"rename", "restore", "rebuild"}),
        ("reid train loss=cir", {"loss=circle", "loss=circle_xbm"}),
        ("reid data report data=ver", {"data=veri776", "data=veri_wild"}),
    ],
)
def test_the_tab_key_offers_commands_groups_and_keys(tmp_path, monkeypatch, line, offered):
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    assert offered <= set(run_here(tmp_path, "reid", "-sc", "query=bash").stdout.split())
