"""Looking at a pipeline: counters of a run, status of a server, progress on a terminal."""
