"""A batch's way through a stage: decode, process, route, and what becomes of failures."""
