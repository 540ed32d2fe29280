"""Consumer groups: creating, reading, claiming, and one look at how far they are."""
