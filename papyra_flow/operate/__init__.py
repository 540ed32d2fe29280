"""What an operator does to a pipeline, once: the command line, the page and the screen call it.

Nothing here imports a pipeline's step functions: an operator's machine may not have them. What does not live here:
asking for consent, and how it is shown (`papyra_flow.cli`).
"""
