"""Slow transcriptions of the definitions, for tests and the benchmark to compare the library with."""
