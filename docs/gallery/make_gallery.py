"""Draws the gallery: every configuration in specs/, and the schedule of `refreeze run` for the README.

    python docs/gallery/make_gallery.py            draw all
    python docs/gallery/make_gallery.py --check    write nothing; fail if a text (README.md, SVG) would change

Pictures that another version of matplotlib has drawn are not compared: it may lay them out differently.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from refreeze import plot, segments
from refreeze.dialects import Dialect, dialect, files

GALLERY = Path(__file__).parent
TIMELINE = GALLERY.parent / "pictures" / "timeline"


def figure(
    language: Dialect, config: Any, title: str, *, names: list[str], total: int, steps_per_epoch: int = 1
) -> Any:
    """Return the figure of one configuration."""
    run = {"total": total, "steps_per_epoch": steps_per_epoch}
    schedule = segments(language.policy(config, names, **run), total)
    rates = language.learning_rates(config, names, **run)
    return plot.draw(schedule, names, unit=language.unit, title=title, rates=rates)


def both(stem: Path, picture: Any) -> Iterator[tuple[Path, Any]]:
    """Yield the files of a picture."""
    yield stem.with_suffix(".png"), picture
    yield stem.with_suffix(".svg"), picture


def content(path: Path, what: Any) -> bytes:
    """Return what the file at ``path`` holds: a text as it is, a figure as the ending says."""
    return what.encode() if isinstance(what, str) else plot.render(what, path.suffix[1:])


def gallery() -> Iterator[tuple[Path, Any]]:
    """Yield every file of the gallery, with its text or figure."""
    runs = json.loads((GALLERY / "names.json").read_text(encoding="utf-8"))
    page = [
        "# Gallery\n\nOne configuration of each dialect, and what it means. Drawn by `make_gallery.py`; "
        "`refreeze plan` draws yours.\n"
    ]
    for name, language in ((path.stem, files.read(path)[0]) for path in map(spec, runs)):
        text = spec(name).read_text(encoding="utf-8")
        comment, _, body = text.partition("\n")
        length = f"{runs[name]['total']:,} {language.unit}"
        picture = figure(language, files.read(spec(name))[1], f"{name}: {length}", **runs[name])
        yield from both(GALLERY / name, picture)
        page.append(f"## {name}\n\n{comment.removeprefix('# ')} Source: {language.source}.\n")
        page.append(f"![{name}: {language.names} over {length}]({name}.svg)\n\n```yaml\n{body.strip()}\n```\n")
    yield GALLERY / "README.md", "\n".join(page)


def spec(name: str) -> Path:
    """Return where the configuration called ``name`` is."""
    return GALLERY / "specs" / f"{name}.yaml"


def timeline() -> Iterator[tuple[Path, Any]]:
    """Yield the picture of what `refreeze run` does by itself; this needs Keras and scikit-learn."""
    from refreeze.job import digits
    from refreeze.keras import model as models

    title = f"refreeze run: {digits.EPOCHS} epochs"
    names = models.layer_names(digits.model())
    yield from both(TIMELINE, figure(dialect("vl3d"), digits.SCHEDULE, title, names=names, total=digits.EPOCHS))


def is_stale(path: Path, what: Any) -> bool:
    """Return whether the text at ``path`` is another, for a reason other than the version of matplotlib."""
    if path.suffix == ".png":
        return not path.exists()
    old, new = path.read_text(encoding="utf-8") if path.exists() else "", content(path, what).decode()
    painters = [re.findall(r"Matplotlib v[\d.]+", text) for text in (old, new)]
    return old != new and (not old or painters[0] == painters[1])


def main() -> int:
    """Draw, or check, all; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a text would change")
    check = parser.parse_args().check
    found = [*gallery(), *timeline()]
    if not check:
        for path, what in found:
            path.write_bytes(content(path, what))
        return 0
    stale = [path.name for path, what in found if is_stale(path, what)]
    if stale:
        print(f"not up to date: {', '.join(stale)}; run {Path(__file__).name}", file=sys.stderr)
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
