"""Writes docs/reference from the code; ``--check`` writes nothing and fails where a page is out of date."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"


def outdated(pages: Mapping[str, str], folder: Path = REFERENCE) -> Iterator[str]:
    """Yield the name of every page that is not as the code would have it, those too many included."""
    for name, text in pages.items():
        path = folder / name
        if not path.is_file() or path.read_text() != text:
            yield name
    yield from (path.name for path in sorted(folder.glob("*")) if path.name not in pages)


def write(pages: Mapping[str, str], folder: Path = REFERENCE) -> None:
    """Write every page and remove what the code no longer has."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        (folder / name).write_text(text)


def main() -> int:
    """Write the reference or, with ``--check``, name what differs; 1 if something does."""
    # Run by its path, Python would look for modules in this folder first, where `secrets` is another one.
    sys.path[:] = [str(ROOT), *(path for path in sys.path if Path(path).resolve() != ROOT / "checks")]
    from checks.pages import pages

    found = list(outdated(wanted := pages()))
    if "--check" not in sys.argv[1:]:
        write(wanted)
        print(f"{len(found)} of {len(wanted)} pages written.")
        return 0
    for name in found:
        print(f"docs/reference/{name} is out of date; run `python3 dev.py run python -m checks.reference`.")
    if not found:
        print("Every page of the reference is as the code has it.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
