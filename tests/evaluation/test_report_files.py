"""What a run says that it wrote."""

import os

from rich.table import Table

from reid_lightning.evaluation.report import print_table, written_files


def test_results_of_an_earlier_run_are_not_claimed(tmp_path, capsys):
    for name in ("metrics.json", "sets.csv", "checkpoints/best.ckpt", "config.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    for name, time in (("sets.csv", 10), ("checkpoints/best.ckpt", 10), ("config.yaml", 20), ("metrics.json", 30)):
        os.utime(tmp_path / name, (time, time))
    written, earlier = written_files(tmp_path)
    assert [path.name for path in written] == ["config.yaml", "metrics.json", "best.ckpt"]  # resumed from, or kept
    assert [path.name for path in earlier] == ["sets.csv"]
    print_table(Table(), tmp_path)
    printed = capsys.readouterr().out
    assert f"of an earlier run in this folder: {tmp_path / 'sets.csv'}" in printed and "wrote sets.csv" not in printed
    (tmp_path / "config.yaml").unlink()
    assert written_files(tmp_path)[1] == []
