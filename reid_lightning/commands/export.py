"""Export a bundle: `reid export checkpoint=<bundle folder or .ckpt> formats=[safetensors,onnx,pt2]`."""

import json
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.text import Text

from reid_lightning.atomic import check_writable, write_atomically
from reid_lightning.bundle import bundle, exporters
from reid_lightning.bundle.loading import named_model
from reid_lightning.commands.entry_point import save_config
from reid_lightning.drawing.tables import print_logged, print_written
from reid_lightning.training.average_checkpoints import average_checkpoints


def export(cfg: DictConfig) -> None:
    """Write a bundle into the run directory, with every format compared with eager before it is kept."""
    run_dir = Path(cfg.run_dir)
    console = Console()
    exporters.check_formats(cfg.formats)
    paths = [cfg.checkpoint] if isinstance(cfg.checkpoint, str) else list(cfg.checkpoint)
    loaded = average_checkpoints([named_model(path) for path in paths])
    options, model = loaded.options, loaded.model
    check_writable(run_dir, needed_bytes=(1 + len(cfg.formats)) * loaded.weight_bytes)
    save_config(cfg, run_dir)
    folder = bundle.save_bundle(
        run_dir / "bundle",
        model,
        options.preprocessing,
        metrics=options.metrics,
        data=options.data,
        calibration=options.calibration,
    )
    differences = {"safetensors": exporters.compare_bundle(model, folder)}  # always there: a bundle is made of it
    for kind in [name for name in exporters.FILE_NAMES if name in cfg.formats and name not in differences]:
        with console.status(f"exporting {exporters.FILE_NAMES[kind]}"):
            differences[kind] = exporters.export_file(model, options.preprocessing, kind=kind, folder=folder)
    for kind, difference in differences.items():
        line = (
            f"wrote {folder / exporters.FILE_NAMES[kind]} "
            f"(largest difference to eager at batches of 1, 2 and 5: {difference:.2g})"
        )
        print_logged(console, Text(line), soft_wrap=True)
    report = {"fingerprint": options.fingerprint, "largest_difference_to_eager": differences}
    write_atomically(folder / "exports.json", json.dumps(report, indent=2) + "\n")
    print_written(console, [folder, run_dir / "config.yaml"])
