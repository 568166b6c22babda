"""Where values are kept: files written whole or not at all, lazy stacks, scratch files, memory budgets."""
