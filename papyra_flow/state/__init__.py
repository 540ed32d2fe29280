"""State of keyed stages: stores and timers, windows and aggregates, event time and watermarks.

Nothing here speaks to a server: what changes is a list of operations for the commit, and what is missing is asked for
by whoever owns the partition.
"""
