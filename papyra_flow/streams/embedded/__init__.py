"""The embedded server: a real Valkey (or Redis) of the pipeline's own."""
