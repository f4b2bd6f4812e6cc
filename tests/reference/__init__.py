"""Slow transcriptions of the definitions, to compare the library with."""
