"""Write a data set as shards: `reid data shards data=veri776 data.root=... output=<folder>`.

The format is described in `reid_lightning.data.shards`; `data=shards data.root=<folder>` reads it.
"""

from __future__ import annotations

from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console

from reid_lightning.data.shards.writing import check_output, write_shards
from reid_lightning.errors import count


def shards(cfg: DictConfig) -> None:
    """Read the data set that the configuration names, and write it."""
    check_output(cfg.output, shard_mib=cfg.shard_mib)
    folder = write_shards(instantiate(cfg.data), cfg.output, shard_mib=cfg.shard_mib)
    shards = sorted(folder.glob("*.tar"))
    size = sum(shard.stat().st_size for shard in shards)
    Console().print(
        f"{count(len(shards), 'shard')}, {size / 2**20:,.1f} MiB: {folder}\n"
        f"Train on it with data=shards data.root={folder}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
