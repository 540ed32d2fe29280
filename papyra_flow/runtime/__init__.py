"""Running a pipeline: consumers, sources, retries, backpressure, draining, shutdown, processes."""
