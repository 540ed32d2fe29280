"""Files as sources and sinks, whatever is in them: which file is which, and how far it was read or written."""
