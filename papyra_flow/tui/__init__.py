"""The terminal screen of `top`: stages as they work, a stage's details, and keys to act."""
