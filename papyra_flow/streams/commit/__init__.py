"""The commit: acknowledging and forwarding in one step, with leases and the ledger beside it."""
