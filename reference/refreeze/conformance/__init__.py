"""The conformance kit: laws that any implementation of layer-freeze schedules is checked by, and vectors.

``laws`` are properties, one clause each, that Hypothesis tries to break; ``cases`` draws the requests for them, one
module a dialect; ``adapters`` reach an implementation by the ``protocol``; ``runner`` does it, ``report`` tells.
``execution`` does the same for what an executor does to a Keras model: its ``harness`` runs it, and what is
``observed`` is the answer. ``vectors`` are single requests with an expectation worked out by hand. Nothing is imported
here: the pytest plugin is loaded by every run of pytest.
"""
