import itertools

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from PIL import Image

from reid_lightning.drawing import figures
from reid_lightning.drawing.colours import RIGHT, WRONG
from reid_lightning.errors import ReIDError
from reid_lightning.evaluation import plots
from reid_lightning.ranking.curves import CameraPairMap, PrecisionRecallCurve

PROTOCOL = (
    "image to image, cosine, AP as step, junk: same identity and same camera; 1,678 queries, 11,579 gallery pictures"
)


def camera_pairs(query_cameras, gallery_cameras, *, lowest=0.2, highest=0.95):
    shape = (query_cameras, gallery_cameras)
    shares = torch.linspace(lowest, highest, query_cameras * gallery_cameras, dtype=torch.float64).view(shape)
    counts = torch.arange(1, shares.numel() + 1).view(shape)
    shares.fill_diagonal_(torch.nan)
    counts.fill_diagonal_(0)
    names = [tuple(f"c{number:03d}" for number in range(1, count + 1)) for count in shape]
    rules = {"metric": "cosine", "ap": "step", "junk": "same identity and same camera", "protocol": "image to image"}
    return CameraPairMap(*names, shares, counts, **rules)


def all_figures():
    curve = PrecisionRecallCurve(torch.linspace(0, 1, 101).double(), torch.linspace(0.9, 0.1, 101).double(), 7)
    rates = np.geomspace(1e-6, 1, 50)
    options = {"caption": PROTOCOL}
    return {
        "pairs": plots.plot_camera_pairs(camera_pairs(3, 4), **options),
        "precision recall": plots.plot_precision_recall(curve, mAP=0.512, **options),
        "cmc": plots.plot_cmc(np.linspace(0.93, 1, 50), **options),
        "histogram": plots.plot_score_histogram([0, 0.5, 1], [1, 9], [40, 2], threshold=0.7, **options),
        "roc": plots.plot_roc(rates, rates**0.1, marked={1e-3: 0.5}, **options),
    }


def texts(figure):
    drawn = [text.get_text() for axes in figure.axes for text in axes.texts]
    return drawn + [text.get_text() for text in figure.texts]


def shown(figure, path):
    """Pixels (height, width, 3) of the saved figure."""
    return np.asarray(Image.open(figures.save_figure(figure, path)).convert("RGB"))


@pytest.mark.parametrize("name", ["pairs", "precision recall", "cmc", "histogram", "roc"])
def test_every_figure_is_a_readable_file_that_names_its_protocol(name, tmp_path):
    figure = all_figures()[name]
    assert any(PROTOCOL in text.replace("\n", " ") for text in texts(figure))
    pixels = shown(figure, tmp_path / "figure.png")
    assert pixels.shape[1] == 1350
    assert 300 < pixels.shape[0] < 1500
    assert (pixels == 255).all(axis=2).mean() < 0.97  # something is drawn
    edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (edges == 255).all()  # and nothing is cut off
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]


def test_camera_pairs_have_a_number_in_every_filled_cell_and_grey_in_the_others(tmp_path):
    pairs = camera_pairs(3, 4)
    figure = plots.plot_camera_pairs(pairs)
    axes = figure.axes[0]
    image = axes.images[0]
    np.testing.assert_array_equal(image.get_array().filled(np.nan), pairs.mAP.numpy())
    assert [label.get_text() for label in axes.get_xticklabels()] == list(pairs.gallery_cameras)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(pairs.query_cameras)
    written = {tuple(np.round(text.get_position()).astype(int)): [] for text in axes.texts}
    for text in axes.texts:
        written[tuple(np.round(text.get_position()).astype(int))].append(text.get_text())
    filled = [(row, column) for row in range(3) for column in range(4) if row != column]
    expected = {(c, r): [f"{100 * pairs.mAP[r, c]:.1f}", str(int(pairs.queries[r, c]))] for r, c in filled}
    assert written == expected
    pixels = shown(figure, tmp_path / "pairs.png")
    for row, column in ((0, 0), (0, 3), (2, 3)):
        x, y = axes.transData.transform((column + 0.4, row - 0.4)) * figures.DPI / figure.dpi
        shade = image.cmap(image.norm(image.get_array()))[row, column]
        assert pixels[int(pixels.shape[0] - y), int(x)].tolist() == pytest.approx(255 * shade[:3], abs=2)
    assert to_hex(image.cmap(image.norm(image.get_array()))[0, 0]) == "#d9d9d9"


@pytest.mark.parametrize(("cameras", "numbers", "ticks"), [(20, 380, 20), (60, 0, 30)])
def test_many_cameras_stay_legible(cameras, numbers, ticks):
    figure = plots.plot_camera_pairs(camera_pairs(cameras, cameras))
    axes = figure.axes[0]
    figure.draw_without_rendering()
    assert len(axes.texts) == numbers
    assert all(text.get_text().isdigit() for text in axes.texts)  # whole percent: narrow
    cell = axes.transData.transform([[0, 0], [1, 0]])[:, 0]
    assert all(text.get_window_extent().width < 0.8 * (cell[1] - cell[0]) for text in axes.texts)
    names = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert len(names) == ticks
    assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(names))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_pairs_that_are_all_alike_still_have_a_scale(share):
    image = plots.plot_camera_pairs(camera_pairs(2, 2, lowest=share, highest=share)).axes[0].images[0]
    low, high = image.get_clim()
    assert low <= share <= high <= 1.0 + 1e-9
    assert high - low == pytest.approx(0.1)


def test_precision_recall_draws_the_curve_and_names_map():
    curve = PrecisionRecallCurve(torch.linspace(0, 1, 101).double(), torch.rand(101).double(), 7)
    figure = plots.plot_precision_recall(curve, mAP=0.5123, title="veri: precision")
    (line,) = figure.axes[0].lines
    np.testing.assert_array_equal(line.get_xydata(), torch.stack([curve.recall, curve.precision], dim=1).numpy())
    assert {"mAP 51.2", "veri: precision"} <= set(texts(figure))


def test_cmc_marks_the_ranks_it_has():
    shares = torch.tensor([0.5, 0.625, 0.75, 0.8, 0.9, 0.95])
    axes = plots.plot_cmc(shares).axes[0]
    line, dots = axes.lines
    np.testing.assert_allclose(line.get_xydata(), np.stack([np.arange(1, 7), shares], axis=1))
    np.testing.assert_allclose(dots.get_xydata(), [[1, 0.5], [5, 0.9]])
    assert "rank-1   50.0\nrank-5   90.0" in texts(axes.figure)
    low, high = axes.get_ylim()
    assert low <= 0.5 < 1 <= high


def test_histogram_holds_counts_and_threshold():
    figure = plots.plot_score_histogram(
        [-1, -0.5, 0, 0.5, 1],
        torch.tensor([0, 1, 20, 300]),
        np.array([0, 5000, 60, 0]),
        threshold=0.25,
        score="cosine similarity",
    )
    axes = figure.axes[0]
    outlines = {to_hex(patch.get_edgecolor()): patch for patch in axes.patches if patch.get_label()}
    assert outlines[RIGHT].get_data().values.tolist() == [0, 1, 20, 300]
    assert outlines[WRONG].get_data().values.tolist() == [0, 5000, 60, 0]
    assert outlines[RIGHT].get_data().edges.tolist() == [-1, -0.5, 0, 0.5, 1]
    assert (axes.get_xlabel(), axes.get_yscale()) == ("cosine similarity", "log")
    assert axes.get_xlim() == (-0.5, 1)  # where there are pairs
    assert list(axes.lines[0].get_xdata()) == [0.25, 0.25]
    assert "threshold 0.250" in texts(figure)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["same vehicle: 321 pairs", "different vehicles: 5,060 pairs"]


def test_histogram_without_threshold_or_pairs(tmp_path):
    figure = plots.plot_score_histogram([0, 1, 2], [0, 0], [0, 0])
    assert not figure.axes[0].lines
    assert figure.axes[0].get_xlim() == (0, 2)
    shown(figure, tmp_path / "empty.png")
    far = plots.plot_score_histogram([0, 1, 2], [3, 0], [4, 0], threshold=1.9)
    assert far.axes[0].get_xlim() == (0, 1.9)  # the threshold is seen wherever it lies


def test_roc_marks_what_it_is_given():
    false, true = [0.0, 5e-4, 1e-3, 2e-3, 1.0], [0.1, 0.4, 0.6, 0.7, 1.0]
    axes = plots.plot_roc(false, true, marked={1e-2: 0.7, 1e-3: 0.62, 1e-9: 0.1}).axes[0]
    line, dots = axes.lines
    np.testing.assert_array_equal(line.get_xydata(), np.stack([false, true], axis=1))
    np.testing.assert_allclose(dots.get_xydata(), [[1e-3, 0.62], [1e-2, 0.7]])
    assert "at 0.001   62.0\nat 0.01   70.0" in texts(axes.figure)
    assert axes.get_xscale() == "log"
    assert axes.get_xlim() == pytest.approx((1e-4, 1))


def test_mistakes_say_what_came():
    with pytest.raises(ReIDError, match="different has 3 counts for 3 edges"):
        plots.plot_score_histogram([0, 1, 2], [1, 2], [1, 2, 3])
    with pytest.raises(ReIDError, match="false_match_rates has 2 values, true_match_rates 1"):
        plots.plot_roc([0.1, 1], [1])
    with pytest.raises(ReIDError, match="no value above 0"):
        plots.plot_roc([0, 0], [0, 1])
    with pytest.raises(ReIDError, match="cmc holds NaN or infinity, first at 1"):
        plots.plot_cmc([0.5, np.nan])
    with pytest.raises(ReIDError, match=r"cmc has shape \(0,\)"):
        plots.plot_cmc([])


def test_a_figure_that_cannot_be_written_leaves_the_old_file(tmp_path, monkeypatch):
    path = figures.save_figure(plots.plot_cmc([0.5, 1.0]), tmp_path / "cmc.png")
    before = path.read_bytes()
    figure = plots.plot_cmc([0.1, 0.2])

    def fill_the_disk(target, **_):
        target.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(figure, "savefig", fill_the_disk)
    with pytest.raises(OSError, match="no space left"):
        figures.save_figure(figure, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["cmc.png"]
