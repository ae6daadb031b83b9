"""Dialects: the configuration of a real system, checked, and its meaning as a policy.

A dialect is one module with one ``DIALECT``. A third party adds one through an entry point in the group
``refreeze.dialects`` whose object is a ``Dialect``.
"""

from refreeze.dialects.base import Dialect, Run
from refreeze.dialects.registry import BUILT_IN, dialect, dialects

__all__ = ["BUILT_IN", "Dialect", "Run", "dialect", "dialects"]
