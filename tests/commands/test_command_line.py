"""What is typed is what is meant: the words of a command line against what the configuration then holds."""

import pytest
from omegaconf import OmegaConf

from reid_lightning.commands.catalogue import CONFIG_DIR
from reid_lightning.commands.command_line import as_typed, quoted, read_words
from reid_lightning.commands.config_mistakes import explained
from reid_lightning.errors import ReIDError


def read(name, *words):
    return read_words(words, command=name, config_name=name, config_dir=str(CONFIG_DIR))


def meant(name, *words):
    """The configuration after these words."""
    line = read(name, *words)
    return line.composed(as_typed(line))


TEXTS = [
    "clip (1).mp4",
    "新加卷/a.mp4",
    "épreuve.mp4",
    "epoch=3-step=10.ckpt",
    "A&B.mp4",
    "it's.mp4",
    '5" screen.mp4',
    "'half",
    "rtsp://admin:secret@127.0.0.1/cam/realmonitor?channel=1&subtype=0",
    "rtsp://admin:Geh#im77@127.0.0.1:1/x",
    "rtsp://admin:密码Secret77@127.0.0.1:1/x",
    r"C:\clips\a.mp4",
    "C:\\clips (old)\\",
    r"\\server\share\a.mp4",
    "NULL",
    "Null",
    "1E5",
    "12E4",
    "1_000",
    "007",
    "-5",
    "nan",
    "inf",
    "true",
    "False",
    "2026-01-31",
    "1.0",
    "a:b",
    "a,b",
    "a, b",
    "{a}",
    "(1)",
    "[clip] 1.mp4",
    "choice(a,b)",
    "range(1,3)",
    "str(5)",
    "${x}",
    "pa${ss",
    r"\${x}",
    "${x} and ${y}",
    " a.mp4 ",
    "a=b=c",
    "#1.mp4",
    "100%.mp4",
    "a!b;c<d>|e*?.mp4",
    "two\nlines",
    "a\\'b",
    "caf\udce9.mp4",
    "😀.mp4",
    r"a\0b",
    "-clip.mp4",
    "@x",
    "~x",
]


def test_a_text_is_what_was_typed():
    for start in range(0, len(TEXTS), 4):  # four keys that are texts at once
        texts = TEXTS[start : start + 4]
        keys = ["query", "plate", "camera", "gallery"][: len(texts)]
        cfg = meant("search", *(f"{key}={text}" for key, text in zip(keys, texts, strict=True)))
        assert [OmegaConf.select(cfg, key) for key in keys] == texts


def test_texts_in_a_list_are_what_was_typed():
    texts = [text for text in TEXTS if "," not in text and text not in ("'half", "pa${ss")]
    cfg = meant("search", f"cameras=[{','.join(texts)},'b, c']", "types=[ 1E5 , NULL ]")
    assert list(cfg.cameras) == [*(text.strip() for text in texts), "b, c"]
    assert cfg.types == ["1E5", "NULL"]


def test_keys_of_groups_and_of_hydra_are_texts_where_their_declarations_say_so():
    cfg = meant("train", "data=veri776", "data.root=x (1)/2026_01", "resume=epoch=3.ckpt", "hydra.run.dir=2026_01")
    assert (cfg.data.root, cfg.resume, cfg.hydra.run.dir) == ("x (1)/2026_01", "epoch=3.ckpt", "2026_01")
    assert meant("train", "data=csv", "data.columns={identity: vehicle}").data.columns == {"identity": "vehicle"}
    pattern = r"(?P<identity>\d+)_.*"
    assert meant("train", "data=folder", f"data.pattern={pattern}").data.pattern == pattern


def test_what_is_no_text_is_read_as_before():
    words = ["optimizer.lr=1e-3", "trainer.max_epochs=1_0", "compile=null", "evaluation.flip=true", "+loss.new=[1,a b]"]
    cfg = meant("train", *words)
    assert (cfg.optimizer.lr, cfg.trainer.max_epochs, cfg.compile, cfg.evaluation.flip) == (1e-3, 10, None, True)
    assert cfg.loss.new == [1, "a b"]
    cfg = meant("search", "plate=null", "min_score=calibrated", "cameras=[north, south]", 'camera="null"')
    assert (cfg.plate, cfg.min_score, cfg.cameras, cfg.camera) == (None, "calibrated", ["north", "south"], "null")


def test_interpolations_that_mean_something_stay(monkeypatch):
    monkeypatch.setenv("SOMEWHERE", "/data")
    cfg = meant("search", "gallery=${oc.env:SOMEWHERE}/x", "stores.uri=${gallery}/.other")
    assert (cfg.gallery, cfg.stores.uri) == ("/data/x", "/data/x/.other")


def test_the_home_folder_is_meant_by_its_sign(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert meant("search", "gallery=~/x").gallery == "/home/me/x"


def test_what_was_read_once_is_the_same_when_it_is_read_again():
    """A trainer's processes and the jobs of a sweep are started with the words that were made."""
    once = as_typed(read("search", *(f"query={text}" for text in TEXTS)))
    assert as_typed(read("search", *once)) == once


def jobs(*words):
    """The jobs of a sweep, as Hydra's own sweeper parts them."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(as_typed(read("train", *words)))
    (batch,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    return [tuple(job) for job in batch]


def test_sweeps_are_made_after_m_alone():
    assert jobs("-m", "loss=id,circle", "seed=1,2") == [
        ("loss=id", "seed=1"),
        ("loss=id", "seed=2"),
        ("loss=circle", "seed=1"),
        ("loss=circle", "seed=2"),
    ]
    assert jobs("-m", "data=veri776", "data.root=2024_1,a (1)") == [
        ("data=veri776", "data.root='2024_1'"),
        ("data=veri776", "data.root='a (1)'"),
    ]
    assert jobs("-m", "seed=range(1,3)", "loss=choice(id,circle)")[0] == ("seed=1", "loss=id")
    assert jobs("sweep=optuna", "data.root=a,b")[1] == ("sweep=optuna", "data.root=b")  # a configuration that sweeps
    assert as_typed(read("train", "data.root=a,b")) == ["data.root='a,b'"]


def test_options_stay_and_come_first():
    line = read("train", "loss=id", "--config-name", "train", "-m", "seed=1")
    assert (line.options, line.overrides, line.sweep) == (("--config-name", "train", "-m"), ("loss=id", "seed=1"), True)
    for word in ("--nonsense", "-x"):
        with pytest.raises(ReIDError, match=f"there is no option {word}. Options are --help, "):
            read("train", word)
    with pytest.raises(ReIDError, match="argument --cfg/-c: invalid choice: 'foo'"):
        read("train", "--cfg", "foo")


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("register", ["sorce=x"], "no key 'sorce'; did you mean source"),
        ("search", ["vectors.uri=x"], "vectors is called stores now; write stores.uri=..."),
        ("register", ["é=1"], "no key 'é'"),
        ("register", ["~foo"], "no key 'foo'"),
        ("register", ["detector.path=x"], "detector=motion has no key 'path'. There are: long_side"),
        ("train", ["loader.identitys_per_batch=4"], "Did you mean identities_per_batch"),
        ("train", ["hydra.run.dri=x"], "hydra.run has no key 'dri'. Did you mean dir?"),
        ("train", ["loss=cosine"], "loss=cosine: there is no such choice. Did you mean cosface"),
        ("train", ["loss=id,circle"], "Several are the jobs of a sweep: -m."),
        ("train", ["data=7"], "data=7: there is no such choice"),
        ("train", ["protocol/rerank=k_rec"], "protocol/rerank=k_rec: there is no such choice. There are: k_reciprocal"),
    ],
)
def test_what_does_not_exist_is_said_with_what_does(name, words, said):
    line = read(name, *words)
    with pytest.raises(Exception) as error:  # Hydra's
        line.composed(as_typed(line))
    message = explained(error.value, line)
    assert said in message and "+" not in message


def test_a_word_that_is_no_setting_and_a_group_without_a_choice_are_mistakes():
    with pytest.raises(ReIDError, match=r"'clip.mp4' is no setting; expected key=value, such as source=clip.mp4"):
        read("register", "clip.mp4")
    with pytest.raises(ReIDError, match="detector is null; expected a choice, such as detector=motion"):
        as_typed(read("register", "detector=null"))
    assert as_typed(read("train", "experiment=null", "seed=1")) == ["seed=1"]


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("train", ["-m", "loss=circle,triplet", "--cfg", "job"], "one of --run, --multirun"),
        ("register", ["hydra=null"], "hydra is no setting"),
        ("register", ["~camera"], "camera is a setting of this command and cannot be taken out"),
        ("register", ["~bundle"], "bundle is a setting"),
        ("register", ["hydra.run.dir="], "hydra.run.dir is empty; expected a folder"),
        ("register", ["hydra.run.dir=null"], "hydra.run.dir is null; expected a folder"),
        ("register", ["+nokey=3"], "no key 'nokey'"),
        ("register", ["+evry=3"], "no key 'evry' to set; did you mean every"),
        ("train", ["+optimiser.lr=3"], "no key 'optimiser.lr' to set; did you mean optimizer"),
        ("train", ["data.root=${x}"], "data.root is '${x}': there is no such key or environment variable. Type a"),
        ("train", ["data.root=a${x"], "data.root is 'a${x': there is no such key"),
        ("train", ["data.root=${trainer}"], "data.root is '${trainer}': there is no such key"),
        ("train", ["seed=${x}"], "seed is '${x}': there is no such key"),
        ("train", ["hydra.run.dir=runs/${x}"], "hydra.run.dir is 'runs/${x}': there is no such key"),
        ("train", ["-m", "optimizer.lr=1,${x}"], "optimizer.lr is '${x}': there is no such key"),
        ("search", ["stores.token=${oc.env:NO_SUCH}"], "stores.token is '***': there is no such key or environment"),
        ("search", ["gallery=${oc.env:NO_SUCH}"], "gallery is '${oc.env:NO_SUCH}': there is no such key or environ"),
        ("train", ["model=[resnet18,resnet50]"], "model is [resnet18,resnet50]; expected one choice, no list. "),
        ("train", ["-m", "loss=[id],[circle]"], "loss is [id],[circle]; expected one choice, no list. Did you mean"),
        ("train", ["--config-dir", str(CONFIG_DIR), "model=[]"], "model is []; expected one choice, no list. There"),
        ("register", ["--config-dir", str(CONFIG_DIR), "plates=[ ]"], "plates is [ ]; expected a choice, or several."),
        ("evaluate", ["protocol/rerank=[k_reciprocal]"], "expected one choice, no list. Did you mean k_reciprocal?"),
    ],
)
def test_what_hydra_would_take_and_fail_with_is_one_line(name, words, said):
    with pytest.raises(ReIDError) as error:
        as_typed(read(name, *words))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_new_key_that_is_read_and_a_new_group_are_taken():
    assert meant("train", "+rate=0.1", "optimizer.lr=${rate}").optimizer.lr == 0.1
    assert meant("evaluate", "+model=resnet18").model.backbone
    with pytest.raises(Exception) as error:
        (line := read("register", "--config-name=foo")).composed()
    assert "--config-name is foo: there is no such file" in explained(error.value, line)


@pytest.mark.parametrize("value", ["${run_dir}/probe", "${hydra:runtime.cwd}"])
def test_what_is_known_when_the_run_begins_may_be_named(value):
    assert f"data.root={value}" in as_typed(read("train", f"data.root={value}"))


def test_quotes_hold_any_text():
    assert quoted("a'b") == r"'a\'b'"


def test_the_users_own_folder_of_configurations_is_found_first(run_command, tmp_path):
    mine = tmp_path / "mine"
    (mine / "loss").mkdir(parents=True)
    ours = (CONFIG_DIR / "loss/triplet.yaml").read_text()
    (mine / "loss/triplet.yaml").write_text(ours.replace("margin: 0.3", "margin: 0.7"))
    for name, margin in (("triplet", 0.7), ("triplet_soft", None)):
        line = read("train", "--config-dir", str(mine), f"loss={name}")
        assert line.composed(as_typed(line)).loss.terms.triplet.loss.margin == margin
    shown = run_command("train.py", "--config-dir", "mine", "--cfg", "job", "loss=triplet")
    assert shown.returncode == 0 and "margin: 0.7" in shown.stdout
    lost = run_command("train.py", "--config-dir", "nowhere", "loss=triplet")
    assert lost.returncode == 1 and "--config-dir nowhere is no folder" in lost.stderr
