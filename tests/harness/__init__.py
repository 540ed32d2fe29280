"""What tests share."""

HANGS_SECONDS = 300
"""After which something is taken to hang: far beyond what the busiest machine takes. No test asserts a time."""
