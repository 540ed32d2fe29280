"""Verbs for writing a pipeline: start one, check it, test it, measure it."""
