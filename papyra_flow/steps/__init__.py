"""Steps: what a stage does with its records. Each is one declared model, registered by an entry point."""
