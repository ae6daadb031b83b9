"""Execution: what a run of an implementation does to a real model, seen from outside, and the laws about it."""
