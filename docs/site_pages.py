"""Hooks of mkdocs: pages of the site that lie elsewhere in the repository, and links that work in both places."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

PROJECT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "docs/notebook.ipynb": "notebook.md",
    "benchmarks/README.md": "benchmarks.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "LICENSE": "license.md",
}
"""Where a file of the repository stands on the site; what is in docs/ stands where it is there."""
_LINK = re.compile(r"(\]\()([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    for source, name in PAGES.items():
        text = (PROJECT / source).read_text(encoding="utf-8")
        files.append(
            File.generated(config, name, content=notebook_as_markdown(text) if source.endswith(".ipynb") else text)
        )
    files.append(File.generated(config, "CITATION.cff", content=(PROJECT / "CITATION.cff").read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    sources = {name: source for source, name in PAGES.items()}
    here = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return _LINK.sub(lambda link: link[1] + site_link(link[2], here=here, page=page.file.src_uri), markdown)


def site_link(link: str, *, here: str, page: str) -> str:
    """A link of the file `here` of the repository, as it is from the page `page` of the site."""
    if "://" in link:
        return link
    target = os.path.normpath(os.path.join(os.path.dirname(here), link))
    target = PAGES.get(target, target.removeprefix("docs/"))
    return os.path.relpath(target, os.path.dirname(page) or ".")


def notebook_as_markdown(text: str) -> str:
    """The cells of a notebook one after the other, its code in blocks."""
    blocks = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            shell = source.removeprefix("%%bash\n")
            source = f"```{'python' if shell == source else 'bash'}\n{shell}\n```"
        blocks.append(source)
    return "\n\n".join(blocks)
