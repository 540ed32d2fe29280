"""Verbs that bring a pipeline onto a server: check it, plan, create, run, remove."""
