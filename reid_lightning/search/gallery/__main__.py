"""Where earlier releases had the command `reid gallery`, which this runs: `check --gallery G` is `check gallery=G`."""

import re
import subprocess
import sys

if __name__ == "__main__":
    words = re.sub(r"--([a-z_]+)[=\0]", r"\1=", "\0".join(sys.argv[1:])).split("\0")
    sys.exit(subprocess.call([sys.executable, "-m", "reid_lightning.commands", "gallery", *words]))
