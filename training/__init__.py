"""Training of the networks that `xanesum` brings; not part of the package."""
