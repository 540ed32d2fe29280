"""papyra-flow: declarative stream pipelines on Redis Streams.

What a step function needs is imported from here: `Emit` to say where a record goes,
`Retry` and `Dead` to say what becomes of a record that could not be processed.
"""

from papyra_flow.errors import Dead, PapyraFlowError, Retry
from papyra_flow.steps.emit import Emit

__all__ = ["Dead", "Emit", "PapyraFlowError", "Retry", "__version__"]
__version__ = "0.1.0"
