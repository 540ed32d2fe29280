"""What `init` writes: pipelines that run as they are, each in a folder of its own."""
