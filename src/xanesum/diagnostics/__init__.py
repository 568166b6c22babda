"""What can be said of a scan, and of a result: checks, the residual, errors by repetition."""
