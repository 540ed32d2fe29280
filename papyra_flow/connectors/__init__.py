"""Connectors: external sources that a stage reads and sinks that it writes, registered by entry points."""
