"""A source's loop: read a portion, commit it with its checkpoint."""
