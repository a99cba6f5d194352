"""Every YAML file composes, and what it names can be built."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from reid_lightning.commands.catalogue import CONFIG_DIR

CHOICES = [
    f"{path.parent.relative_to(CONFIG_DIR).as_posix()}={path.stem}"
    for path in sorted(CONFIG_DIR.rglob("*/*.yaml"))
    if path.stem != "base" and path.parent.name != "shared"  # which commands pull in themselves
]
GIVEN = {  # what has no default because it is the user's
    "detector": {"yolox": ["detector.path=x.onnx"]},
    "data": {
        "csv": ["data.path=x.csv"],
        "joined": ["+data@data.sets.veri776=veri776", "data.sets.veri776.root=x"],
        **{
            name: ["data.root=x"]
            for name in (
                *(
                    "veri776",
                    "folder",
                    "vehicleid",
                    "veri_wild",
                    "vric",
                    "cityflow",
                    "vehiclex",
                    "market1501",
                    "shards",
                    "gallery",
                ),
            )
        },
    },
    "experiment": {
        "pseudo_labels": ["data.path=x.csv"],
        **{name: ["data.root=x"] for name in ("veri_r50_ibn", "veri_r50_ibn_strong", "veri_vit_b", "twocam")},
    },
}


SEARCH_GROUPS = ("detector", "tracker", "plate_reader", "plates", "stores")


def composed(name, overrides):
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose(name, overrides=overrides)
    if "run_dir" in cfg:
        cfg.run_dir = "out"  # Hydra's, when it runs
    OmegaConf.resolve(cfg)
    return cfg


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes_and_resolves(choice):
    group, name = choice.split("=")
    search = group in SEARCH_GROUPS
    wanted = ["source=x", "camera=x"] if search else []
    cfg = composed("register" if search else "train", [choice, *GIVEN.get(group, {}).get(name, []), *wanted])
    assert not OmegaConf.missing_keys(cfg)
    if group not in (
        "data",
        "model",
        "trainer",
        "callbacks",
        "logger",
        "loss",
        "experiment",
        "detector",
    ):  # these are built by tests of their own
        instantiate(OmegaConf.select(cfg, group.replace("/", ".")))


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("evaluate", ["checkpoint=x"]),
        ("export", ["checkpoint=x"]),
        ("report", []),
        ("shards", ["output=x"]),
        ("augmentation_sheet", []),
        ("register", ["source=x", "camera=x"]),
        ("search", ["query=x"]),
        ("dashboard", ["folder=x"]),
    ],
)
def test_the_other_entry_points_compose(name, overrides):
    assert not OmegaConf.missing_keys(composed(name, overrides))


def test_entry_points_stay_short(project):
    for name in ("train.py", "evaluate.py", "export.py", "register.py", "search.py"):
        assert len((project / name).read_text().splitlines()) < 80
