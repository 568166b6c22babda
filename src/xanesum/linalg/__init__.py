"""Linear algebra on stacks: subspace, averages over blocks of pixels, imputation."""
