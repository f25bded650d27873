"""Does a tweet report a real disaster? A machine-learning study written in notebooks.

`Classifier` applies a saved run. The other names train and evaluate a network, as nbs/index.ipynb
shows: `load`, `clean_study`, `clean_aware`, `RunConfig`, `prepare`, `network`, `fit`, `predict`,
`compute_metrics`. The modules are the chapters of the study; see README.md.
"""
from typing import TYPE_CHECKING

__version__ = "0.2.0"

__all__ = ["Classifier", "RunConfig", "clean_aware", "clean_study", "compute_metrics", "fit",
           "load", "network", "predict", "prepare"]

if TYPE_CHECKING: # for editors
    from .classifier import Classifier
    from .clean import clean_aware, clean_study
    from .data import load
    from .metrics import compute_metrics
    from .model import predict
    from .run_config import RunConfig
    from .training import fit, network, prepare

_MODULES = {"Classifier": "classifier", "RunConfig": "run_config", "clean_aware": "clean",
            "clean_study": "clean", "compute_metrics": "metrics", "fit": "training",
            "load": "data", "network": "training", "predict": "model", "prepare": "training"}


def __getattr__(name: str):
    """Import a public name when it is first used, so that `import disaster_nbdev` is quick."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module
    from .docstrings import documented
    found = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = documented(found) # `__getattr__` is not called again
    return found


def __dir__() -> list[str]:
    """List the public names, whether they are imported or not."""
    return sorted({*globals(), *__all__})
