"""What is looked at and done by hand: dead letters, repairs, rights, pauses, a server's settings."""
