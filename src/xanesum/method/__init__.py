"""The methods `sum` and `sum+`: from a stack to spectra, denoised images, and their errors."""
