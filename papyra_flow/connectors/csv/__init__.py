"""Comma-separated files (RFC 4180) as a source and a sink."""
