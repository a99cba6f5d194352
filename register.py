"""Register vehicles: `python register.py source=<picture, folder, video or URL> camera=<name> [gallery=<folder>]`."""

from reid_lightning.commands.main import door

register = door("register")

if __name__ == "__main__":
    register()
