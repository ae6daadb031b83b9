"""TensorFlow: a step is compiled for the variables that are trainable when it is traced; later flags do nothing."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from refreeze.keras import private
from refreeze.keras.backends import Backend
from refreeze.keras.masked import MaskedStep
from refreeze.keras.traces import forget_gradients

_log = logging.getLogger("refreeze")


class TensorFlow(Backend):
    """TensorFlow, on one device or under a strategy of ``tf.distribute``."""

    def masked(self, *parts: Any) -> Any:
        return MaskedStep(*parts)

    def forget(self, train_function: Any) -> None:
        forget_gradients(train_function)

    def build_metrics_first(self, model: Any) -> None:
        # Keras builds them inside the first trace; a trace that creates variables is done again.
        build, function = private.metrics_builder(model), model.train_function
        if build is None or model.run_eagerly:
            return

        def first(iterator: Any) -> Any:
            model.train_function = function
            try:
                build(data_batch=iterator.element_spec)
            except Exception:  # the data or the model is of a kind that Keras cannot build ahead: then it traces twice
                _log.debug("metrics could not be built ahead", exc_info=True)
            return function(iterator)

        model.train_function = first

    def scope(self, model: Any) -> contextlib.AbstractContextManager[Any]:
        found: contextlib.AbstractContextManager[Any] = model.distribute_strategy.scope()
        return found

    def replicas(self, model: Any) -> int:
        return int(model.distribute_strategy.num_replicas_in_sync)

    def writes(self, model: Any) -> bool:
        return bool(model.distribute_strategy.extended.should_checkpoint)


BACKEND = TensorFlow()
