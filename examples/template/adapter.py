"""What refreeze asks: a request in, an answer out. Say `unsupported` to what your implementation does not have."""

from typing import Any

from schedule import frozen_layers


def respond(request: dict[str, Any]) -> dict[str, Any]:
    config, names = request["config"], request["names"]
    if request["dialect"] != "gradual" or names is None or set(config) - {"every"}:
        return {"id": request["id"], "unsupported": True}
    found = [
        {"start": epoch, "stop": epoch + 1, "frozen": frozen_layers(names, epoch, config.get("every", 1))}
        for epoch in range(request["start"], request["total"])
    ]
    return {"id": request["id"], "segments": found}
