"""From text to validated models: YAML with positions, variables, models, JSON Schema."""
