"""The end of a batch: forward or write it, and acknowledge it, in one commit."""
