"""PureLens: split polysemantic neurons of vision models into pure virtual neurons."""

__version__ = "0.1.0"
