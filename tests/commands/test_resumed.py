"""`resume=<run>`: the run's own settings, and what is typed on top of them."""

from pathlib import Path

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict

from reid_lightning.commands.catalogue import CONFIG_DIR
from reid_lightning.commands.command_line import read_words
from reid_lightning.commands.entry_point import plain_config
from reid_lightning.commands.resumed import record_words, with_settings_of_run
from reid_lightning.errors import ReIDError


def line_of(*words):
    return read_words(words, command="train", config_name="train", config_dir=str(CONFIG_DIR))


def written_run(folder, *words, **changes):
    """The folder of a run that was started with these words; `changes` are values of its config.yaml by key."""
    cfg = line_of(*words).composed([*words, f"hydra.run.dir={folder}"])
    hydra = cfg.hydra
    with open_dict(cfg):
        del cfg["hydra"]
        cfg.run_dir = str(folder)
    (folder / ".hydra").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints/last.ckpt").touch()
    with open_dict(hydra):
        hydra.runtime.config_sources = []
    OmegaConf.save(
        {"hydra": OmegaConf.masked_copy(hydra, ["runtime", "overrides", "mode"])}, folder / ".hydra/hydra.yaml"
    )
    (folder / ".hydra/overrides.yaml").write_text(yaml.safe_dump(list(words)))
    values = OmegaConf.create(plain_config(cfg))
    for key, value in changes.items():
        parent, _, name = key.rpartition(".")
        if value is None:
            del OmegaConf.select(values, parent)[name]
        else:
            OmegaConf.update(values, key, value)
    OmegaConf.save(values, folder / "config.yaml")
    return folder


def went_on(*words):
    """The composed configuration of a command line with `resume`, and the notes."""
    line, notes = with_settings_of_run(line_of(*words))
    return line.composed(line.overrides), notes, line


def test_the_run_s_settings_hold_and_what_is_typed_changes_them(tmp_path):
    run = written_run(
        tmp_path / "a run", "loss=circle", "loss.terms.circle.weight=0.3", "optimizer.lr=0.01", "data.root='a b'",
        "callbacks=[ema,early_stopping]", "+trainer.limit_train_batches=2",
    )  # fmt: skip
    cfg, notes, line = went_on(f"resume={run}", "trainer.max_epochs=9", "optimizer.lr=0.02")
    assert set(cfg.loss.terms) == {"circle"} and cfg.loss.terms.circle.weight == 0.3
    assert (cfg.optimizer.lr, cfg.trainer.max_epochs, cfg.data.root) == (0.02, 9, "a b")
    assert "ema" in cfg.callbacks and "early_stopping" in cfg.callbacks
    assert cfg.trainer.limit_train_batches == 2
    assert cfg.hydra.run.dir == str(run) and cfg.hydra.output_subdir is None
    [note] = notes
    assert note.endswith("; changed: trainer.max_epochs=9 (was 4), optimizer.lr=0.02 (was 0.01)")
    again, _ = with_settings_of_run(line)
    repeated = again.composed(again.overrides)
    assert {key: repeated[key] for key in cfg if key not in ("hydra", "run_dir")} == {
        key: cfg[key] for key in cfg if key not in ("hydra", "run_dir")
    }, "a rank that repeats the command line has the same settings"


def test_a_choice_that_is_typed_takes_the_place_of_the_keys_below_the_recorded_one(tmp_path):
    run = written_run(tmp_path / "run", "loss=circle", "loss.terms.circle.weight=0.3")
    cfg, _, _ = went_on(f"resume={run}", "loss=id_triplet")
    assert set(cfg.loss.terms) == {"id", "triplet"}


def test_what_today_s_files_say_otherwise_stays_as_it_was_in_the_run(tmp_path):
    run = written_run(
        tmp_path / "run",
        **{"data.validation": None, "optimizer.lr": 0.5, "model.ibn": "b", "trainer._target_": "old.place.Trainer"},
    )
    cfg, notes, _ = went_on(f"resume={run}")
    assert (cfg.data.validation, cfg.optimizer.lr, cfg.model.ibn) == ("test", 0.5, "b")
    assert cfg.trainer._target_ == "pytorch_lightning.Trainer"
    assert notes[1] == "today's defaults are others; as in that run: data.validation, model.ibn, optimizer.lr"


def test_a_checkpoint_s_file_has_the_settings_too_and_begins_a_folder_of_its_own(tmp_path):
    run = written_run(tmp_path / "run", "loss=circle")
    cfg, _, line = went_on(f"resume={run / 'checkpoints/last.ckpt'}")
    assert set(cfg.loss.terms) == {"circle"}
    assert not any(word.startswith(("hydra.run.dir", "hydra.output_subdir")) for word in line.overrides)
    cfg, _, line = went_on(f"resume={run / 'checkpoints/last.ckpt'}", f"hydra.run.dir={run}")
    assert cfg.hydra.output_subdir is None
    cfg, _, line = went_on(f"resume={run}", f"hydra.run.dir={tmp_path / 'other'}")
    assert cfg.hydra.run.dir == str(tmp_path / "other") and cfg.hydra.output_subdir == ".hydra"


@pytest.mark.parametrize("word", ["resume=auto", "resume=null", "resume=nothing.ckpt", "resume=empty", "loss=circle"])
def test_without_a_run_s_folder_nothing_changes(tmp_path, monkeypatch, word):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    line = line_of(word)
    assert with_settings_of_run(line) == (line, [])


def test_settings_that_are_none_any_more_are_named(tmp_path):
    run = written_run(tmp_path / "run")
    (run / ".hydra/overrides.yaml").write_text("- optimizer.lrr=3\n")
    with pytest.raises(ReIDError, match=r"resume=.*run: .* settings that are none any more: .*'lrr'.* Did you mean lr"):
        went_on(f"resume={run}")


def test_the_words_of_the_run_are_recorded_when_all_is_checked(tmp_path, monkeypatch):
    run = written_run(tmp_path / "run", "loss=circle")
    line, _ = with_settings_of_run(line_of(f"resume={run}", "seed=3"))
    cfg = line.composed(line.overrides)
    with open_dict(cfg):
        cfg.hydra.runtime.output_dir = str(run)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    HydraConfig.instance().set_config(cfg)
    hydra = cfg.hydra
    with open_dict(cfg):
        del cfg["hydra"]
    record_words(cfg)
    assert yaml.safe_load((run / ".hydra/overrides.yaml").read_text()) == ["loss=circle", f"resume={run}", "seed=3"]
    assert OmegaConf.load(run / ".hydra/hydra.yaml").hydra.runtime.choices.loss == hydra.runtime.choices.loss
