# SPDX-License-Identifier: Apache-2.0
"""
What the site adds to the pages of this folder, which read on GitHub as they are: the README is its first page, each
notebook is a page, and links to other files of the repository lead there.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
_NAME = re.compile(r"(?<=\[)[\w/.]+\.md(?=\]\((?!\w+:)([^)\s#]+\.md)(?:#[^)\s]+)?\))")
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)(#[^)\s]+)?(?=\))")


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages that have their source elsewhere or in another form."""
    # Without its contents at the side the figure of the first page has room.
    readme = "---\nhide: [toc]\n---\n\n" + (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=readme))
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        content = notebook_page(path, config.extra["repository"])
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=content))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Turn the links of a page into those of the site or of the repository, and names of files into titles."""
    name = page.file.src_uri
    source = "README.md" if name == "index.md" else f"docs/{name}"

    def path_of(link: str) -> str:
        return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))

    def title(link: re.Match[str]) -> str:
        path = ROOT / path_of(link[1])
        headings = re.findall(r"^# (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE) if path.is_file() else []
        return headings[0] if headings else link[0]

    def target(link: re.Match[str]) -> str:
        return site_link(path_of(link[1]), name, config.extra["repository"]) + (link[2] or "")

    markdown = _LINK.sub(target, _NAME.sub(title, markdown))
    # After the language of a block stands how the tests read it.
    return re.sub(r"^(```\w+) .*$", r"\1", markdown, flags=re.MULTILINE)


def on_page_content(html: str, **_: Any) -> str:
    """Leave out the brackets in which docstrings name classes for Hugging Face's own builder."""
    return re.sub(r"\[(<code>[^<]+</code>)\]", r"\1", html)


def site_link(path: str, page: str, repository: str) -> str:
    """The link from a page of the site to a file or folder of the repository, if there is one at this path."""
    if path == "README.md":
        path = "docs/index.md"
    elif path.startswith("docs/notebooks/") and path.endswith(".ipynb"):
        path = path.removesuffix(".ipynb") + ".md"
    elif not path.startswith("docs/") or not (ROOT / path).is_file():
        return f"{repository}/{'tree' if (ROOT / path).is_dir() else 'blob'}/main/{path}"
    return posixpath.relpath(path.removeprefix("docs/"), posixpath.dirname(page) or ".")


def notebook_page(path: Path, repository: str) -> str:
    """A notebook as a page: its text and its code, and where it can be run."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells]
    parts = [
        text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```"
        for cell, text in zip(cells, texts, strict=True)
    ]
    name = repository.removeprefix("https://github.com/")
    place = f"docs/notebooks/{path.name}"
    hosted = f"https://colab.research.google.com/github/{name}/blob/main/{place}"
    run = f"[Run it on Colab]({hosted}), or take [the notebook]({repository}/blob/main/{place})."
    page = "\n\n".join([parts[0], run, *parts[1:]]) + "\n"
    # The cell that fetches the project names the repository of this site.
    return re.sub(r'^REPOSITORY = ".*"$', f'REPOSITORY = "{repository}"', page, flags=re.MULTILINE)
