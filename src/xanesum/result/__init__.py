"""The result of denoising: spectra, images and their errors; saved and loaded."""

from xanesum.result.denoised import ARRAYS, COMPONENT_COLUMNS, Denoised, holds_result, load_result

__all__ = ["ARRAYS", "COMPONENT_COLUMNS", "Denoised", "holds_result", "load_result"]
