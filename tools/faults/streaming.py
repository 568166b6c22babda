"""Planted faults in streaming."""

from faults import Fault

FAULTS = (
    Fault(
        "passes: averages of pixels that do not count",
        "streaming/blocked_stack.py",
        "weights = None if self.mask.all() else self.mask.astype(np.float32)",
        "weights = None",
        "tests/test_streaming_blocks.py",
    ),
    Fault(
        "passes: energies not weighed in the averages",
        "streaming/blocked_stack.py",
        "averaged *= self.rescaling.energy.astype(np.float32)[:, None, None]",
        "pass",
        "tests/test_streaming_blocks.py",
    ),
    Fault(
        "passes: common noise left in the averages",
        "streaming/blocked_stack.py",
        "            frame -= share * image",
        "            pass",
        "tests/test_streaming_blocks.py",
    ),
    Fault(
        "passes: common noise left in the images",
        "streaming/blocked_stack.py",
        "kept = spectra - self.excess * np.outer(spectra @ self.along, self.along)",
        "kept = spectra",
        "tests/test_streaming_blocks.py",
    ),
    Fault(
        "passes: digest of rows only",
        "streaming/cpu_backend.py",
        "np.add.reduce(bits, axis=1, dtype=np.uint32, out=along_y[energies])",
        "pass",
        "tests/test_streaming_blocks.py",
    ),
    Fault(
        "passes: missing values are not filled on the way",
        "streaming/blocked_stack.py",
        "return block if self.filling is None else",
        "return np.nan_to_num(block) if True else",
        "tests/test_streaming_blocks.py",
    ),
    Fault(
        "accelerator: a block of other content taken for the one that is held",
        "streaming/blocked_stack.py",
        "keys = {(str(part), id(self.filling)): part for part in parts}",
        "keys = {str(part): part for part in parts}",
        "tests/test_streaming_torch.py",
    ),
    Fault(
        "accelerator: pixels that do not count are counted",
        "streaming/torch_backend.py",
        "rescaled = block if weights is None else block * self._sent(weights[part.rows])",
        "rescaled = block",
        "tests/test_streaming_torch.py",
    ),
)
