"""Your implementation: here ULMFiT's gradual unfreezing, with one mistake that is known."""


def frozen_layers(layers: list[str], epoch: int, every: int = 1) -> list[str]:
    """Return the layers that are frozen in an epoch: all but the last ones."""
    return layers[: len(layers) - epoch // every - 1]
