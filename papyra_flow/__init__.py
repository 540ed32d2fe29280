"""papyra-flow: declarative stream pipelines on Redis Streams.

What is imported from here is stable, and says since when it is there; everything else is private and may change with
any release. `Record` is a record: a dict of JSON's types, by field. Since 0.2.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from papyra_flow.connectors.base import BadRecord, Portion
    from papyra_flow.connectors.sink import Sink
    from papyra_flow.connectors.source import Source
    from papyra_flow.errors import (
        ConfigurationError,
        ConnectorError,
        Dead,
        InvalidPipelineError,
        PapyraFlowError,
        RecordError,
        RecordsError,
        Retry,
        SetupError,
        TransientError,
    )
    from papyra_flow.pipeline import Pipeline
    from papyra_flow.records.emit import Emit
    from papyra_flow.records.entries import Record
    from papyra_flow.spec.components import SetupContext
    from papyra_flow.state.key_state import State
    from papyra_flow.steps.context import Context
    from papyra_flow.steps.step import Step
    from papyra_flow.testing.driver import Driver, drive

__all__ = [  # noqa: RUF022 - grouped by who needs them
    # pipelines in Python
    "Pipeline",
    # step functions
    "Context",
    "Dead",
    "Emit",
    "Record",
    "Retry",
    "State",
    # steps, sources and sinks of one's own
    "Step",
    "Source",
    "Sink",
    "BadRecord",
    "Portion",
    "SetupContext",
    # errors
    "PapyraFlowError",
    "ConfigurationError",
    "ConnectorError",
    "InvalidPipelineError",
    "RecordError",
    "RecordsError",
    "SetupError",
    "TransientError",
    # tests
    "Driver",
    "drive",
    "__version__",
]
__version__ = "0.1.0"

_PLACES = {
    "connectors.base": ("BadRecord", "Portion"),
    "connectors.sink": ("Sink",),
    "connectors.source": ("Source",),
    "errors": (
        "ConfigurationError", "ConnectorError", "Dead", "InvalidPipelineError", "PapyraFlowError", "RecordError",
        "RecordsError", "Retry", "SetupError", "TransientError",
    ),
    "pipeline": ("Pipeline",),
    "records.entries": ("Record",),
    "spec.components": ("SetupContext",),
    "state.key_state": ("State",),
    "steps.context": ("Context",),
    "records.emit": ("Emit",),
    "steps.step": ("Step",),
    "testing.driver": ("Driver", "drive"),
}  # fmt: skip
"""Where each name is: imported when it is asked for, so that `papyra-flow --help` and a step's module load nothing."""


def __getattr__(name: str) -> object:
    for place, names in _PLACES.items():
        if name in names:
            found: object = getattr(import_module(f"{__name__}.{place}"), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
