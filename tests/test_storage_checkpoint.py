"""Checkpoints: damaged ones are made again, and digests tell what they belong to."""

import numpy as np
import pytest

from xanesum.errors import WriteError
from xanesum.storage.checkpoint import Checkpoint, digest_of


def test_a_damaged_checkpoint_is_made_again(tmp_path):
    kept = Checkpoint(tmp_path / "kept", "a")
    first = kept.remember("what", lambda: {"x": np.arange(3.0)})
    (path,) = kept.folder.iterdir()
    path.write_bytes(path.read_bytes()[:100])

    again = kept.remember("what", lambda: {"x": np.arange(3.0) + 1})

    np.testing.assert_array_equal(again["x"], first["x"] + 1)
    np.testing.assert_array_equal(kept.remember("what", dict)["x"], again["x"])


def test_checkpoints_that_cannot_be_written_are_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="choose another"):
        Checkpoint(tmp_path / "file" / "kept", "a").remember("what", dict)


@pytest.mark.parametrize(
    "parts",
    [("ab", "c"), ("a", "bc"), (np.arange(2), np.arange(1)), (np.arange(3),), (np.arange(3.0),), (None,)],
)
def test_digests_tell_parts_apart(parts):
    others = {("ab", "c"), ("a", "bc"), ("abc",)} - {parts if isinstance(parts[0], str) else ()}
    assert digest_of(*parts) == digest_of(*parts)
    assert digest_of(*parts) not in {digest_of(*other) for other in others}
