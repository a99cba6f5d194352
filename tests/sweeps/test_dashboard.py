"""The picture of a sweep's dashboard."""

import pytest

from reid_lightning.drawing.figures import save_figure
from reid_lightning.sweeps.dashboard import plot_dashboard
from reid_lightning.sweeps.jobs import SweepJob
from reid_lightning.sweeps.results import ScoredJob


@pytest.mark.parametrize("loss", [None, 0.0, 2.5])
def test_runs_with_nothing_to_draw_on_a_logarithmic_scale_have_their_dashboard(tmp_path, loss):
    """Two epochs of a few crops are fewer steps than one line of the log; a triplet loss falls to 0."""
    lines = ["epoch,step,val/mAP", "0,0,0.9"] if loss is None else ["epoch,step,train/loss", f"0,9,{loss}"]
    (tmp_path / "0/logs").mkdir(parents=True)
    (tmp_path / "0/logs/metrics.csv").write_text("\n".join(lines))
    job = SweepJob(0, "0", ("loss=triplet",), "completed")
    scores = {"mAP": 90.0, "rank-1": 95.0, "mINP": 80.0}
    figure = plot_dashboard([ScoredJob(job, scores, "image to image")], tmp_path, title="Sweep")
    save_figure(figure, tmp_path / "dashboard.png")
    shown = [[text.get_text() for text in place.texts] for place in figure.axes]
    assert ["nothing in logs/metrics.csv" in " ".join(texts) for texts in shown[3:]] == [
        loss is not None,
        loss is None,
        True,
    ]
    assert figure.axes[4].get_yscale() == ("log" if loss else "linear")
