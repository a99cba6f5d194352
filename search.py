"""Find registered vehicles: `python search.py query=<picture, folder, video or URL> [plate=<plate>] [gallery=...]`."""

from reid_lightning.commands.main import door

search = door("search")

if __name__ == "__main__":
    search()
