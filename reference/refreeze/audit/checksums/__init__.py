"""Checksums of many arrays at once, computed where they are: ``make`` of each module returns what computes them.

Every place in an array counts in its checksum. A plain sum of bits would not do: in a softmax of two classes one bias
rises by what the other one falls, and their sum stays.
"""
