"""Planted faults in streaming, and in the prefetch and the checkpoints that it uses."""

from faults import Fault

FAULTS = (
    Fault(
        "passes: averages of pixels that do not count",
        "streaming/blocked_stack.py",
        "return None if self.mask.all() else self.mask.astype(np.float32)",
        "return None",
        "tests/test_streaming_blocks.py",
    ),
    Fault(
        "passes: energies not weighed in the averages",
        "streaming/blocked_stack.py",
        "values *= self.rescaling.energy.astype(np.float32)[:, None, None]",
        "pass",
        "tests/test_streaming_blocks.py",
    ),
    Fault(
        "passes: common noise left in the averages",
        "streaming/blocked_stack.py",
        "        frame -= share * image",
        "        pass",
        "tests/test_streaming_blocks.py",
    ),
    Fault(
        "passes: common noise left in the images",
        "streaming/interface.py",
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
        "passes: a sample is counted from the wrong row",
        "streaming/cpu_backend.py",
        "wanted = pixels[pixels_within(pixels, part.rows, n_x)] - part.rows.start * n_x",
        "wanted = pixels[pixels_within(pixels, part.rows, n_x)] - part.rows.start",
        "tests/test_streaming_blocks.py",
    ),
    Fault(
        "executors: workers do not fill missing values",
        "streaming/executors.py",
        "return kernel(stack.fill(stack.read(*part), part), part)",
        "return kernel(stack.read(*part), part)",
        "tests/test_streaming_executors.py",
    ),
    Fault(
        "executors: a stack in memory is sent to workers",
        "streaming/executors.py",
        """        if stack.in_memory:
            return SerialExecutor().images""",
        """        if False:
            return SerialExecutor().images""",
        "tests/test_streaming_executors.py",
    ),
    Fault(
        "executors: one part a worker",
        "streaming/executors.py",
        "n_ahead = 2 * max(1,",
        "n_ahead = max(1,",
        "tests/test_streaming_executors.py",
    ),
    Fault(
        "executors: blocks for a device of any size",
        "streaming/blocked_stack.py",
        "block_bytes = min(block_bytes, BLOCK_BYTES)",
        "pass",
        "tests/test_streaming_executors.py",
    ),
    Fault(
        "accelerator: a block of other content taken for the one that is held",
        "streaming/executors.py",
        "keys = {(str(part), id(stack.read), id(stack.filling)): part for part in parts}",
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
    Fault(
        "checkpoint: a rescaled stack taken for another",
        "streaming/blocked_stack.py",
        "changes = (how.pixel, how.energy, how.along, how.excess)",
        "changes = (how.pixel, how.energy, how.along)",
        "tests/test_streaming_executors.py",
    ),
    Fault(
        "checkpoint: a filled stack is not remembered",
        "streaming/checkpointed_stack.py",
        "return replace(self, stack=self.stack.filled(spectra))",
        "return self.stack.filled(spectra)",
        "tests/test_streaming_executors.py",
    ),
    Fault(
        "prefetch: more items on their way than allowed",
        "storage/prefetch.py",
        "submitted.extend(submit(item) for item in islice(coming, 1))",
        "submitted.extend(submit(item) for item in islice(coming, 2))",
        "tests/test_storage_prefetch.py",
    ),
    Fault(
        "prefetch: an interrupt waits for all that was submitted",
        "storage/prefetch.py",
        "pool.shutdown(cancel_futures=True)",
        "pool.shutdown()",
        "tests/test_storage_prefetch.py",
    ),
)
