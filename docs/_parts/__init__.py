"""What the site does that Sphinx has no extension for."""
