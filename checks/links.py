"""Every relative link and anchor in the Markdown files leads somewhere."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from checks.files import ROOT, committed

CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]*`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
HEADING = re.compile(r"^#+\s+(.+?)\s*#*$", re.MULTILINE)
ELSEWHERE = re.compile(r"^[a-z][a-z0-9+.-]*:|^//")


def dead_links() -> Iterator[str]:
    """Yield a line for each link that leads nowhere, as ``file -> target``."""
    for page in committed(".md"):
        text = CODE.sub("", page.read_text())
        for target in LINK.findall(text):
            if not ELSEWHERE.match(target) and not _leads_somewhere(page, unquote(target)):
                yield f"{page.relative_to(ROOT)} -> {target}"


def _leads_somewhere(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    found = (ROOT / name.lstrip("/") if name.startswith("/") else page.parent / name) if name else page
    if not found.exists():
        return False
    return not anchor or found.suffix != ".md" or anchor in _anchors(found.read_text())


def _anchors(text: str) -> set[str]:
    headings = HEADING.findall(re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    repeated = {f"{slug}-{n}" for slug in slugs for n in range(1, slugs.count(slug))}
    return {*slugs, *repeated}


def main() -> int:
    """Print the dead links; 1 if there are any."""
    found = list(dead_links())
    print("\n".join(found) or "Every link leads somewhere.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
