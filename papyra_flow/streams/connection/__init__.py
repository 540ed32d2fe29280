"""Connections to a server: addresses, clusters, commands, and what is done when it does not answer."""
