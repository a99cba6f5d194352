"""The colours of all pictures and figures, and the sizes of sheets of pictures in pixels."""

from __future__ import annotations

CELL = 96  # pixels of a picture's square
FRAME = 4
LINE = 13  # of a caption, which has two
GAP = 6
TITLE = 48  # with two lines below the title
BACKGROUND, TEXT, FAINT = "white", "#222222", "#777777"
RIGHT, WRONG, QUERY = "#1a9850", "#d73027", "#333333"
