"""Fixtures of the workflow tests."""

from support.finished import finished, tiny, workplace

__all__ = ["finished", "tiny", "workplace"]
