"""Verbs that change what is on the server by hand; each says first what would be lost."""
