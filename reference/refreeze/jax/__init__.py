"""Records of runs on JAX. JAX has no engine here: a step is a function of the user's, over trees of arrays."""

from refreeze.jax.recorder import Recorder

__all__ = ["Recorder"]
