"""The command ``xanesum``: parses, calls, prints."""
