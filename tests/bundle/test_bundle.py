import subprocess
import sys

import pytest
import torch
import yaml
from PIL import Image

from reid_lightning.bundle import bundle
from reid_lightning.bundle.model_card import VALIDATION_MAP, model_card
from reid_lightning.bundle.weights import read_checkpoint
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel
from reid_lightning.search import load_reid_model

PREPROCESSING = Preprocessing(64, 48)


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(1)
    sizes = [(90, 70), (31, 44), (200, 64)]
    noise = [torch.randint(0, 256, (height, width, 3), generator=generator) for width, height in sizes]
    return [Image.fromarray(values.to(torch.uint8).numpy()) for values in noise]


@pytest.fixture
def saved(small_model, tmp_path):
    with torch.no_grad():  # statistics of their own, so that a lost buffer shows
        small_model(torch.randn(8, 3, 64, 48))
    return bundle.save_bundle(
        tmp_path / "bundle", small_model, PREPROCESSING, metrics={"mAP": 0.5}, data={"name": "noise"}
    )


def test_a_loaded_bundle_embeds_as_the_model_that_was_saved(saved, small_model, pictures):
    model = load_reid_model(saved / "opts.yaml", saved / "model.safetensors", "cpu")
    embeddings = model.embed(pictures)
    expected = small_model.embed(torch.stack([PREPROCESSING(picture) for picture in pictures]))
    assert embeddings.shape == (3, 32)
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings, expected.detach(), atol=1e-6, rtol=0)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3))


def test_embedding_takes_a_preprocessed_tensor_and_any_batch_size(saved, pictures):
    model = load_reid_model(saved)
    tensor = torch.stack([PREPROCESSING(picture) for picture in pictures])
    torch.testing.assert_close(model.embed(tensor), model.embed(pictures, batch_size=1), atol=1e-6, rtol=0)
    assert model.embed([]).shape == (0, 32)


def test_embedding_accepts_grey_and_transparent_pictures(saved, pictures):
    model = load_reid_model(saved)
    assert model.embed([pictures[0].convert("L"), pictures[0].convert("RGBA")]).isfinite().all()


@pytest.mark.parametrize(
    "images",
    [torch.zeros(3, 64, 48), torch.zeros(1, 3, 48, 64), ["car.jpg"], [None], "car.jpg", Image.new("RGB", (9, 9)), None],
)
def test_embedding_names_what_it_cannot_take(saved, images):
    with pytest.raises(ReIDError, match="images"):
        load_reid_model(saved).embed(images)


@pytest.mark.parametrize(
    ("module", "unneeded"),
    [
        ("reid_lightning.search", ("pytorch_lightning", "hydra", "reid_lightning.training.module")),
        ("reid_lightning.ranking", ("pytorch_lightning", "hydra", "matplotlib", "timm", "torchvision", "PIL")),
    ],
)
def test_the_library_parts_import_nothing_of_training(project, module, unneeded):
    code = (
        f"import importlib, pkgutil, sys, {module}\n"
        f"for found in pkgutil.walk_packages({module}.__path__, '{module}.'):\n"
        "    importlib.import_module(found.name)\n"
        f"print([name for name in {unneeded} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_saving_again_replaces_the_bundle_and_leaves_nothing_beside_it(saved, small_model):
    before = bundle.read_options(saved).fingerprint
    with torch.no_grad():
        next(small_model.parameters()).add_(1.0)
    bundle.save_bundle(saved, small_model, PREPROCESSING, metrics={}, data={})
    assert bundle.read_options(saved).fingerprint != before
    assert [path.name for path in saved.parent.iterdir()] == ["bundle"]


def test_a_bundle_that_cannot_be_finished_leaves_the_old_one(saved, small_model, monkeypatch):
    before = (saved / "opts.yaml").read_bytes()

    def no_space(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle, "save_file", no_space)
    with pytest.raises(OSError, match="No space"):
        bundle.save_bundle(saved, small_model, PREPROCESSING, metrics={}, data={})
    assert (saved / "opts.yaml").read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["bundle"]


def test_the_model_card_names_metrics_data_and_fingerprint(saved):
    card = (saved / "model_card.md").read_text()
    assert "| mAP | 50.0 % |" in card
    assert "noise" in card
    assert bundle.read_options(saved).fingerprint in card


def test_a_truncated_weights_file_is_refused(saved):
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ReIDError, match="cut short"):
        load_reid_model(saved)


def test_options_of_another_architecture_are_refused(saved):
    values = yaml.safe_load((saved / "opts.yaml").read_text())
    values["architecture"]["backbone"] = "resnet34"
    (saved / "opts.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ReIDError, match="another architecture"):
        load_reid_model(saved)


def test_changed_preprocessing_is_noticed(saved):
    values = yaml.safe_load((saved / "opts.yaml").read_text())
    values["preprocessing"]["mean"] = [0.0, 0.0, 0.0]
    (saved / "opts.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ReIDError, match="fingerprint"):
        load_reid_model(saved)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [", "YAML"),
        ("- 1", "expected the keys"),
        ("format: 99", "format 99"),
        ("format: 1\narchitecture: 3", "architecture"),
        ("format: 1\narchitecture: {}\npreprocessing: {height: 1}\nembedding_dim: 2", "preprocessing"),
    ],
)
def test_damaged_options_are_named(saved, content, words):
    (saved / "opts.yaml").write_text(content)
    with pytest.raises(ReIDError, match=words):
        load_reid_model(saved)


def test_an_architecture_that_is_not_ours_is_refused_without_running_it(saved):
    values = yaml.safe_load((saved / "opts.yaml").read_text())
    values["architecture"] = {"_target_": "os.system"}
    (saved / "opts.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ReIDError, match="not one of ours"):
        load_reid_model(saved)


def test_missing_files_are_named(saved, tmp_path):
    with pytest.raises(ReIDError, match="nowhere"):
        load_reid_model(tmp_path / "nowhere")
    with pytest.raises(ReIDError, match="nothing at"):
        bundle.open_model(tmp_path / "nowhere")
    with pytest.raises(ReIDError, match="device"):
        load_reid_model(saved, device="quantum")


def test_a_checkpoint_brings_its_own_options_and_is_checked(small_model, tmp_path):
    record = bundle.training_record(small_model, PREPROCESSING)
    state = {f"model.{name}": tensor for name, tensor in small_model.state_dict().items()}
    path = tmp_path / "best.ckpt"
    torch.save({"state_dict": {**state, "loss.weight": torch.zeros(3)}, "reid": record}, path)
    loaded = bundle.open_model(path)
    assert loaded.options.fingerprint == bundle.fingerprint(small_model, PREPROCESSING)

    other = ReIDModel("resnet34", ibn="a", last_stride=2, embedding_dim=32)
    with pytest.raises(ReIDError, match=r"backbone: 'resnet18' in the checkpoint, 'resnet34' here"):
        bundle.check_architecture(read_checkpoint(path), other)

    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ReIDError, match="cut short"):
        bundle.open_model(path)


def test_a_checkpoint_from_elsewhere_and_one_with_code_in_it_are_refused(tmp_path):
    foreign = tmp_path / "foreign.pth"
    torch.save({"weight": torch.zeros(2)}, foreign)
    with pytest.raises(ReIDError, match=r"model\.pretrained"):
        bundle.open_model(foreign)
    torch.save(
        {"reid": Preprocessing(64, 64)}, foreign
    )  # any class would do: nothing but tensors and plain values loads
    with pytest.raises(ReIDError, match="not a readable checkpoint"):
        bundle.open_model(foreign)


def test_the_card_counts_epochs_and_says_figures_as_a_training_prints_them(saved):
    options = bundle.read_options(saved).as_dict()
    options["data"] |= {"epoch": 11, VALIDATION_MAP: 0.96789}
    card = model_card(options)
    assert "| epoch | 12 |" in card and "| validation mAP | 96.8 %, of the best epoch |" in card
    assert "| ibn | none |" in model_card({**options, "architecture": {"ibn": None}})


def test_what_a_stranger_wrote_into_a_bundle_stays_in_one_line_of_the_card(saved):
    options = yaml.safe_load((saved / "opts.yaml").read_text())
    evil = "x |\n\n<script>alert(1)</script>\n`curl`\n#"
    counts = {"same_pairs": 1, "different_pairs": 2, "queries": 1, "gallery": 2}
    rates = {"false_match_rate": 0.1, "measured_false_match_rate": 0.1, "true_match_rate": 0.5}
    texts = {"metric": "cosine", "junk": evil, "protocol": "image to image", "warning": evil}
    calibration = {"threshold": 0.5, "similarity": True, "queries_with_false_match": 0.1, **rates, **counts, **texts}
    options |= {"data": {"name": evil, evil: 1}, "metrics": {"cmc": 5, evil: {"1": evil}}}
    options["calibration"] = {evil: calibration}
    (saved / "opts.yaml").write_text(yaml.safe_dump(options))
    card = model_card(bundle.read_options(saved).as_dict())
    lines = [line for line in card.splitlines() if "script" in line]
    assert lines and all(line.startswith(("| ", "- ")) for line in lines)
    assert "<script>" not in card and "`curl`" not in card and r"x \| &lt;script&gt;" in card


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fingerprint": "\x1b]0;title\x07"}, "the fingerprint is"),
        ({"calibration": {"p": {"same_pairs": None}}}, "calibration is not one of ours"),
        ({"calibration": {"p": {"different_pairs": "x"}}}, "the numbers of pairs are"),
    ],
)
def test_options_that_would_break_the_card_are_refused(saved, changes, words):
    options = yaml.safe_load((saved / "opts.yaml").read_text())
    entry = dict.fromkeys(("false_match_rate", "measured_false_match_rate", "true_match_rate"), 0.1)
    entry |= {"threshold": 0.5, "similarity": True, "queries_with_false_match": 0.1, "queries": 1, "gallery": 1}
    entry |= {"same_pairs": 1, "different_pairs": 1, "metric": "cosine", "junk": "none", "protocol": "p"}
    if "calibration" in changes:
        changes = {"calibration": {"p": entry | changes["calibration"]["p"]}}
    (saved / "opts.yaml").write_text(yaml.safe_dump(options | changes))
    with pytest.raises(ReIDError, match=words):
        bundle.read_options(saved)
