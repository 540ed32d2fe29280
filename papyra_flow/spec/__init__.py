"""What a pipeline is, as models: stages, streams, settings, and the registry of components. It knows no YAML."""
