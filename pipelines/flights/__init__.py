"""Step functions of the flights pipeline."""
