"""What an operator does to a pipeline, once: the command line, the page and the screen call it.

Nothing here imports a pipeline's step functions: an operator's machine may not have them.
"""
