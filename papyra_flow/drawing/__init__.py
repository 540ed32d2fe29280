"""From a topology to a picture: layout, theme, templates."""
