"""Where earlier releases had the command `reid gallery`."""

import sys

if __name__ == "__main__":
    sys.exit("error: this is `reid gallery` now, with key=value: reid gallery check gallery=data/gallery")
