"""Verbs that show a pipeline and change nothing, on a terminal, as a page or as a picture."""
