"""Every key of every command is compared with its type before work begins."""

import functools
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch
from omegaconf import OmegaConf

from reid_lightning.commands.catalogue import COMMANDS, CONFIG_DIR
from reid_lightning.commands.command_line import read_words
from reid_lightning.commands.config_checks import Takes, check_values, describe, fits, taken_by
from reid_lightning.commands.config_mistakes import check_missing
from reid_lightning.commands.config_types import declared_for
from reid_lightning.commands.entry_point import check_composed
from reid_lightning.errors import ReIDError
from reid_lightning.user_messages import Expected

CHOICES = {
    "register": ["detector=yolox", "stores=milvus", "plates=cn"],
    "evaluate": ["data=csv", "protocol/rerank=k_reciprocal", "protocol/expansion=alpha"],
    "train": ["data=folder", "transforms=strong", "loss=id_triplet_ramp", "callbacks=[ema,early_stopping]"],
    "data shards": ["data=veri776"],
}
GIVEN = {"source": "x.mp4", "camera": "north", "query": "x.jpg", "checkpoint": "x", "output": "x.png", "run_dir": "x"}
GIVEN |= {"folder": "x", "cameras": "x.yaml"}
GIVEN |= {"data.path": "x.csv", "data.root": "x", "detector.path": "x.onnx"}
WANTED = {"vehicle": "A", "to": "B", "into": "C", "before": "2026-01-31", "file": "x.zip", "bundle": "x"}
WANTED |= {"pair": "a,b", "says": "same", "answer": "a"}
FREE = {"trainer.plugins"}  # keys that take whatever there is


@functools.cache
def composed(name):
    line = read_words(
        CHOICES.get(name, []), command=name, config_name=COMMANDS[name].config, config_dir=str(CONFIG_DIR)
    )
    cfg = line.composed(line.overrides)
    OmegaConf.set_struct(cfg, False)
    choices = cfg.pop("hydra").runtime.choices
    if COMMANDS[name].own:  # the file is that of several commands
        for key in [key for key in cfg if key not in declared_for(name) and not OmegaConf.is_dict(cfg[key])]:
            del cfg[key]
        cfg.update({key: value for key, value in WANTED.items() if key in cfg and cfg[key] is None})
    for key, value in GIVEN.items():
        parent, _, name = f".{key}".rpartition(".")
        holder = OmegaConf.select(cfg, parent[1:]) if parent else cfg
        if holder is not None and (OmegaConf.is_missing(holder, name) or name == key == "run_dir" in holder):
            holder[name] = value
    return cfg, choices


def leaves(node, above=""):
    for name in node:
        child = node._get_node(name)
        key = f"{above}{name}"
        if str(name).startswith("_") or child._is_interpolation():
            continue
        if OmegaConf.is_dict(child) and not child._is_none() and len(child):
            yield from leaves(child, f"{key}.")
        else:
            yield key


@pytest.mark.parametrize("name", COMMANDS)
def test_every_key_of_every_command_is_checked_and_named(name):
    cfg, choices = composed(name)
    check_composed(cfg, name, choices=choices)  # the defaults are right
    declared = declared_for(name)
    assert {key for key in cfg if not OmegaConf.is_dict(cfg._get_node(key))} <= declared.keys()
    assert declared.keys() <= set(cfg)
    for key in set(leaves(cfg)) - FREE:
        is_text = taken_by(cfg, declared, key) is not Takes.ANYTHING
        for value in [[["a"]], True, 0.5, "a\0b"] if is_text else [[["a"]]]:
            changed = cfg.copy()
            OmegaConf.update(changed, key, value, merge=False)
            try:
                check_values(changed, declared)
            except ReIDError as error:
                assert str(error).startswith(f"{key} is "), (key, value, error)
            else:
                pytest.fail(f"{key} takes {value!r}")


@pytest.mark.parametrize(
    ("name", "key", "value", "said"),
    [
        ("register", "every", "abc", "every is 'abc'; expected a whole number of 1 or more."),
        ("register", "every", 1.5, "every is 1.5; expected a whole number of 1 or more."),
        ("register", "every", 0, "every is 0; expected a whole number of 1 or more."),
        ("register", "every", True, "every is true; expected a whole number of 1 or more."),
        ("register", "gallery", None, "gallery is null; expected a folder."),
        ("register", "gallery", ["a"], "gallery is ['a']; expected a folder."),
        ("register", "source", "a" * 5000, "a name of 5,000 bytes; a file's has 255 at most"),
        ("register", "start", "yesterday", "start is 'yesterday'; expected a time such as 2026-"),
        ("register", "device", "foo", "device is 'foo'; expected auto, cpu, cuda, cuda:1 or mps."),
        ("register", "backend", "foo", "backend is 'foo'; expected auto, torch or onnx."),
        (
            "register",
            "providers",
            "gpu",
            "providers is 'gpu'; expected auto, cpu, cuda, tensorrt, coreml, openvino, directml",
        ),
        ("search", "providers", ["cuda", "gpu"], "providers is ['cuda', 'gpu']; expected auto, cpu, cuda, tensorrt,"),
        ("register", "camera", "x" * 3000, "expected a name of 1,024 bytes at most, no address"),
        ("register", "camera", "é" * 513, "expected a name of 1,024 bytes at most, no address"),
        ("register", "camera", "b\udcff", "(which is not UTF-8); expected a name of 1,024 bytes at most, no address"),
        (
            "register",
            "camera",
            "rtsp://admin:pw77@h/x",
            "camera is 'rtsp://h/x'; expected a name of 1,024 bytes at most, no address",
        ),
        (
            "register",
            "camera",
            "rtsp//admin:pw77@h/x",
            "camera is 'rtsp//h/x'; expected a name of 1,024 bytes at most, no address",
        ),
        ("search", "plate", ["x" * 3000], "expected a name of 1,024 bytes at most, no address"),
        ("search", "cameras", ["a", "b\udcff"], "expected a name of 1,024 bytes at most, no address"),
        ("search", "gallery", "g\udcff", "(which is not UTF-8); expected a folder."),
        ("search", "min_score", True, "min_score is true; expected a cosine similarity from -1 to 1 or calibrated."),
        ("search", "min_score", None, "min_score is null; expected a cosine similarity from -1 to 1 or calibrated."),
        ("search", "types", "cra", "types is 'cra'; expected some of car, motorcycle, bus, truck, vehicle"),
        ("search", "types", ["car", "cra"], "types is ['car', 'cra']; expected some of car, motorcycle,"),
        ("search", "plate", 51e3, "plate is 51000.0; expected a name of 1,024 bytes at most"),
        ("search", "plate", [None], "plate is [None]; expected a name of 1,024 bytes at most"),
        ("search", "plate", "", "plate is ''; expected a name of 1,024 bytes at most"),
        ("search", "min_quality", "x", "min_quality is 'x'; expected a number from 0 to 1."),
        ("search", "min_quality", float("nan"), "min_quality is nan; expected a number from 0 to 1."),
        ("search", "min_score", "x", "min_score is 'x'; expected a cosine similarity from -1 to 1 or calibrated."),
        ("search", "rerank", 2, "rerank is 2; expected true or false."),
        ("search", "draw", "maybe", "draw is 'maybe'; expected true or false."),
        ("search", "stores.name", 0.5, "stores.name is 0.5; expected a text."),
        ("register", "every", 10**20, "every is 100000000000000000000 (too large); expected"),
        ("train", "seed", "${x}", "seed is '${x}': there is no such key or environment variable. Type a value, seed="),
        ("train", "seed", -1, "seed is -1; expected a whole number from 0 to"),
        ("train", "loader.num_workers", -1, "loader.num_workers is -1; expected a whole number of 0 or more"),
        ("train", "loader.eval_batch_size", 0, "loader.eval_batch_size is 0; expected a whole number of 1 or more"),
        ("train", "input.height", "64", "input.height is '64'; expected a whole number."),
        ("train", "trainer.max_epochs", "x", "trainer.max_epochs is 'x'; expected a whole number or null."),
        ("train", "optimizer.lr", "1,2", "optimizer.lr is '1,2'; expected a number. Several values are the jobs of"),
        (
            "train",
            "input.mean",
            [1.0, 2.0],
            "input.mean is [1.0, 2.0]; expected a list of 3: a number, a number, a number",
        ),
        ("app", "max_upload_mib", -1, "max_upload_mib is -1; expected a whole number of 0 or more."),
        ("app", "max_upload_mib", 0.5, "max_upload_mib is 0.5; expected a whole number of 0 or more."),
        ("export", "formats", "onnx", "formats is 'onnx'; expected a list of safetensors, onnx or pt2."),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_key(name, key, value, said):
    cfg, choices = composed(name)
    cfg = cfg.copy()
    OmegaConf.update(cfg, key, value, merge=False)
    with pytest.raises(ReIDError) as error:
        check_composed(cfg, name, choices=choices)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_a_secret_in_a_wrong_value_is_not_shown():
    cfg, choices = composed("register")
    cfg = cfg.copy()
    OmegaConf.update(cfg, "stores.token", ["hush"])
    OmegaConf.update(cfg, "gallery", ["rtsp://me:hush@h/x"])
    with pytest.raises(ReIDError) as error:
        check_composed(cfg, "register", choices=choices)
    assert "hush" not in str(error.value)


def test_an_argument_that_a_target_does_not_take_is_named():
    cfg = OmegaConf.create(
        {"tracker": {"_target_": "reid_lightning.search.video.tracking.VehicleTracker", "lost_secnds": 3}}
    )
    with pytest.raises(ReIDError, match=r"takes no 'lost_secnds'; it takes lost_seconds. Correct tracker.lost_secnds"):
        check_values(cfg, {})


def test_what_wants_a_value_is_told_with_the_comment_beside_it():
    cfg = OmegaConf.create({"source": "x", "camera": "???", "data": {"root": "???"}, "other": {"x": "???"}})
    with pytest.raises(ReIDError) as error:
        check_missing(cfg, config=CONFIG_DIR / "register.yaml", choices={"data": "veri776", "other": None})
    assert str(error.value).splitlines() == [
        "camera is missing: the camera's name: matches and travel times go by it; e.g. camera=north.",
        "  data.root is missing: the unpacked VeRi-776 folder, e.g. data.root=/data/VeRi.",
        "  other.x is missing: give it a value, other.x=<value>.",
    ]


@pytest.mark.parametrize(
    ("hint", "right", "wrong", "words"),
    [
        (int, [1, -1], [True, 1.0, "1", None], "a whole number"),
        (float, [1, 0.5, float("inf")], [True, "1", float("nan")], "a number"),
        (bool, [True], [0, "true"], "true or false"),
        (str, ["", "x", 7], [True, 0.5, None, "a\0"], "a text"),
        (str | Path | None, ["x", None], ["", "a" * 256, "/".join(["ab"] * 2000), True], "a path or null"),
        (Literal["a", "b"] | None, ["a", None], ["c", 1], "a, b or null"),
        (tuple[float, float], [[1, 2]], [[1], [1, "x"], 1], "a list of 2: a number, a number"),
        (list[str] | str, ["x", ["x"]], [[True], True], "a text or a list of those"),
        (dict[str, int], [{"a": 1}], [{"a": "x"}, [1]], "keys and values, {key: value}"),
        (float | torch.Tensor, [1.0], ["x", None], "a number"),
        (Annotated[int, Expected("an even number", lambda value: value % 2 == 0)], [2], [1, "x"], "an even number"),
        (Any, ["x", None], [], None),
        (torch.Tensor, ["x"], [], None),
    ],
)
def test_types(hint, right, wrong, words):
    assert all(fits(value, hint) for value in right)
    assert not any(fits(value, hint) for value in wrong)
    assert words is None or describe(hint) == words
