"""papyra-flow: declarative stream pipelines on Redis Streams.

What a step function needs is imported from here: `Emit` to say where a record goes,
`Retry` and `Dead` to say what becomes of a record that could not be processed; `Pipeline` makes pipelines in Python.
"""

from typing import TYPE_CHECKING

from papyra_flow.errors import Dead, PapyraFlowError, Retry
from papyra_flow.steps.emit import Emit

if TYPE_CHECKING:
    from papyra_flow.pipeline import Pipeline

__all__ = ["Dead", "Emit", "PapyraFlowError", "Pipeline", "Retry", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name == "Pipeline":  # imported when it is asked for: the command line starts without
        from papyra_flow.pipeline import Pipeline

        return Pipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
