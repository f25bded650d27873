"""Does a tweet report a real disaster? A machine-learning study written in notebooks.

`Classifier` applies a saved run. The modules are the chapters of the study; see README.md.
"""
__version__ = "0.2.0"

__all__ = ["Classifier"]


def __getattr__(name: str):
    """Import `Classifier` when it is first used, so that `import disaster_nbdev` is quick."""
    if name != "Classifier": raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .classifier import Classifier
    return Classifier
