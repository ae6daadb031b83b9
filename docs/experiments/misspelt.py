"""Is a name that does not exist an error?"""

from __future__ import annotations

from typing import Any

import lab


def keras() -> tuple[str, dict[str, Any]]:
    model = lab.keras_model()
    try:
        model.get_layer("stam").trainable = False
    except ValueError as error:
        return "yes: `get_layer` raises ValueError", {"error": str(error)[:120]}
    return "no", {}


def lighter() -> tuple[str, dict[str, Any]]:
    pl = lab.lightning("pytorch_lightning")
    from lighter.callbacks import Freezer

    module = lab.lightning_module(pl)
    try:
        lab.lightning_fit(pl, module, [Freezer(names="backbone.0.wieght", name_starts_with="bakbone")], 1)
    except Exception as error:
        return f"yes: {type(error).__name__}", {"error": str(error)[:120]}
    return "no: nothing is frozen, silently", {"moved": module.moved[0]}


def refreeze() -> tuple[str, dict[str, Any]]:
    from refreeze import always
    from refreeze.errors import UnknownName
    from refreeze.keras import execute

    model = lab.keras_model()
    try:
        execute(model, always(["stam"]), 1, lambda epochs: lab.keras_fit(model, epochs))
    except UnknownName as error:
        return "yes, before anything is changed", {"error": str(error).replace(model.name, "…")}
    return "no", {}


MODULES = "modules are given, not names"
EXPERIMENTS = {"keras": keras, "pytorch": MODULES, "lightning": MODULES, "lighter": lighter, "refreeze": refreeze}
if __name__ == "__main__":
    lab.main(__doc__, EXPERIMENTS)
