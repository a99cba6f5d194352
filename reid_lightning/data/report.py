"""Where earlier releases had the command `reid data report`."""

import sys

if __name__ == "__main__":
    sys.exit("error: this is `reid data report` now, with the same words behind it: reid data report data=folder ...")
