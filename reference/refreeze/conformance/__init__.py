"""The conformance kit: laws that any implementation of layer-freeze schedules is checked by, and vectors.

``laws`` are properties, one clause each; ``cases`` draws the requests for them with Hypothesis, one module a dialect;
the ``catalogue`` says which laws there are. ``adapters`` reach an implementation by the ``protocol``; the ``runner``
tries to break each law, and ``report`` tells what came of it. ``execution`` does the same for what an executor does to
a Keras model: its ``harness`` runs it, and ``observations`` are what is seen then. ``vectors`` are single requests with
an expectation worked out by hand. Nothing is imported here: the pytest plugin is loaded by every run of pytest.
"""
