"""The digest on a second core: the same value as hashlib's, whatever the parts, and no thread left."""

import hashlib
import threading
from collections.abc import Sequence
from io import BytesIO, RawIOBase
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.package import archive
from conformance.profile import load
from harness.package.digest import BesideDigest

SIZES = st.lists(st.sampled_from([0, 1, 512, 65535, 65536, 65537, 1 << 20]), max_size=12)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(sizes=SIZES)
def test_parts_from_two_buffers_in_turn_give_the_digest_of_all(sizes: Sequence[int]) -> None:
    whole, buffers = hashlib.sha256(), [memoryview(bytearray(1 << 20)) for _ in range(2)]
    with BesideDigest() as digest:
        for number, size in enumerate(sizes):
            part = buffers[number % 2][:size]
            part[:] = bytes([number + 1]) * size
            whole.update(part)
            digest.update(part)
        assert digest.hexdigest() == whole.hexdigest()
        assert digest.hexdigest() == whole.hexdigest()


def test_its_thread_ends_with_it_also_after_an_error() -> None:
    with pytest.raises(OSError, match="cut"), BesideDigest() as digest:
        digest.update(memoryview(bytes(1 << 20)))
        raise OSError("cut")
    assert "digest" not in [thread.name for thread in threading.enumerate()]


def test_an_archive_has_the_same_digests_by_either() -> None:
    data = bytes(range(256)) * 20_000
    alone = archive.read(cast(RawIOBase, BytesIO(data)), load())
    with BesideDigest() as digest:
        beside = archive.read(cast(RawIOBase, BytesIO(data)), load(), digest)
    assert alone == beside
    assert alone.sha256 == hashlib.sha256(data).hexdigest()
