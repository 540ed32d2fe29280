"""Measurements: ratios of several interleaved runs, never absolutes of one; see README.md."""
