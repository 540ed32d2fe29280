"""JSON lines (https://jsonlines.org) as a source and a sink."""
