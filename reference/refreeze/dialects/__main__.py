"""``python -m refreeze.dialects FOLDER``: write the JSON Schema of each built-in dialect's files into the folder."""

import json
import sys
from pathlib import Path

from refreeze.dialects import BUILT_IN, dialect

if __name__ == "__main__":  # pragma: no branch
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in BUILT_IN:
        text = json.dumps(dialect(name).file_schema(), indent=2) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
