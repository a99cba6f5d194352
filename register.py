"""Register vehicles: `python register.py source=<picture, folder, video or URL> camera=<name> [gallery=<folder>]`."""

from reid_lightning.commands.register import register

if __name__ == "__main__":
    register()
