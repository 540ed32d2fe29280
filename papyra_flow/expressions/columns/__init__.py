"""Expressions over whole columns: Arrow's kernels where they mean what Python means."""
