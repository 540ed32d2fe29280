"""One process of a run: its start, its workers, its signals, its end."""
