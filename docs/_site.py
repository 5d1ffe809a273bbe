"""What MkDocs needs beside the pages of docs/: those outside of it that they link to, and a page of the API a room.

On GitHub docs/data.md links to ../params.yaml. On the site that file lies beside data.md, and the link loses its ../;
the pages themselves are as they are.
"""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "benchmarks/results.md")
LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)#\s]+)(?=[)#])")
ROOMS = ("films", "models", "statistics", "records", "remotes", "pages", "audit")


def on_files(files: Files, config: Any) -> Files:
    """Add the project's own pages, every file that a page links to, and the API's pages."""
    for name in PAGES:
        files.append(File.generated(config, name, content=(ROOT / name).read_text(encoding="utf-8")))
    for page in list(files.documentation_pages()):
        for target in LINK.findall(page.content_string):
            place = _place(page.src_uri, target)
            on_site = _on_site(place)
            if (ROOT / place).is_file() and files.get_file_from_path(on_site) is None:
                files.append(File.generated(config, on_site, abs_src_path=str(ROOT / place)))
    for name, text in _api().items():
        files.append(File.generated(config, f"api/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links at where a file lies on the site."""
    source = page.file.src_uri
    if source.startswith("api/"):
        return markdown

    def moved(match: re.Match[str]) -> str:
        place = _place(source, match[1])
        if (ROOT / place).is_dir() or not (ROOT / place).exists():
            return match[1]  # MkDocs says that it is broken
        return relpath(_on_site(place), str(PurePosixPath(source).parent))

    return LINK.sub(moved, markdown)


def _place(page: str, target: str) -> str:
    """Where in the repository a page's link leads."""
    folder = PurePosixPath(page if page in PAGES else f"docs/{page}").parent
    return normpath(str(folder / target))


def _on_site(place: str) -> str:
    """Where on the site a file of the repository lies: the pages of docs/ beside the others."""
    return place.removeprefix("docs/")


def _api() -> dict[str, str]:
    """A page for what all share, and one a room of osteon/."""
    pages = {"index": "# The library\n\n::: osteon\n"}
    alone = sorted(path.stem for path in (ROOT / "osteon").glob("*.py") if path.stem != "__init__")
    pages["index"] += "".join(f"\n::: osteon.{name}\n" for name in alone)
    for room in ROOMS:
        paths = sorted((ROOT / "osteon" / room).rglob("*.py"))
        names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths if path.stem != "__init__"]
        pages[room] = f"# osteon.{room}\n\n" + "".join(f"::: {name}\n\n" for name in names)
    return pages
