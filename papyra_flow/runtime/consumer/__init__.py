"""A consumer's loop, and what feeds it: new entries, retries, claims."""
