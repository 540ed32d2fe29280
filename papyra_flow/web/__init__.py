"""The web page of `serve`: live topology, figures, streams and dead letters; and what monitoring asks for."""
