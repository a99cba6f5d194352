"""Where earlier releases had the command `reid data report`, which this runs."""

import subprocess
import sys

if __name__ == "__main__":
    sys.exit(subprocess.call([sys.executable, "-m", "reid_lightning.commands", "data", "report", *sys.argv[1:]]))
