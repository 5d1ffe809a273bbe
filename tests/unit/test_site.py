"""The docs as a site: every link leads somewhere, and nothing is fetched from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build(folder: Path, config: Path) -> subprocess.CompletedProcess[str]:
    words = ["-m", "mkdocs", "build", "--strict", "--config-file", str(config), "--site-dir", str(folder / "site")]
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_site_is_built_with_the_librarys_api_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = build(tmp_path, ROOT / "mkdocs.yml")
    assert done.returncode == 0, done.stderr
    site = tmp_path / "site"
    assert "osteon.statistics.proportions.wilson" in (site / "api" / "statistics.html").read_text(encoding="utf-8")
    assert (site / "notebooks" / "first_look.ipynb").is_file()
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r'<(?:script|img|iframe)[^>]* src="?(?:https?:)?//', text), page
        assert not re.search(r'<link[^>]* href="?https?://(?!127)[^>]*rel="?stylesheet', text), page
