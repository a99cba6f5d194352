"""Train a vehicle re-identification model: `python train.py [loss=circle] [data=veri776 data.root=...] ...`."""

from reid_lightning.commands.main import door

train = door("train")

if __name__ == "__main__":
    train()
