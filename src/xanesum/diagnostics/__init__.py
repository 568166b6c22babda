"""Quality checks: of a scan before denoising, of the residual, and of the errors of a map."""
