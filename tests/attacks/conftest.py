"""Fixtures of the attacks."""

from support.finished import finished, tiny, workplace

__all__ = ["finished", "tiny", "workplace"]
