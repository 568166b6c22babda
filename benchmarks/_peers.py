"""Time another program on a stack, in an interpreter that has it: NAME STACK.npy RANK REPEATS."""

import json
import statistics
import sys
import time

import numpy as np


def main() -> None:
    name, path, rank, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    stack = np.load(path)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        if name == "scikit-learn":
            from sklearn.utils.extmath import randomized_svd

            randomized_svd(stack.reshape(len(stack), -1), rank, random_state=0)
        else:
            import hyperspy.api as hs

            signal = hs.signals.Signal1D(np.moveaxis(stack, 0, -1))
            signal.decomposition(
                algorithm="SVD",
                svd_solver="randomized",
                output_dimension=rank,
                print_info=False,
                random_state=0,
            )
        seconds.append(time.perf_counter() - start)
    note = "" if name == "scikit-learn" else "randomized solver"
    print(json.dumps({"seconds": statistics.median(seconds[-max(1, repeats - 1) :]), "note": note}))


if __name__ == "__main__":
    main()
