"""A checkpoint whose bytes have changed is told from one that is as it was written."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from martensite.core.errors import ArtifactError
from martensite.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from martensite.training.state import Snapshot


@pytest.fixture
def checkpoint():
    now = Snapshot({"net.weight": torch.rand(5, 3), "optimiser.step": torch.tensor(3.0)}, {"epoch": 1, "note": '"digest":"0"'})
    good = Snapshot({"net.weight": torch.rand(5, 3)}, {"epoch": 0})
    return Checkpoint(now, good, {"weight": torch.rand(5, 3).bfloat16()}, {"seen": torch.ones(4)}, {"best": {"clean": 0.9}})


@pytest.fixture
def file(checkpoint, tmp_path):
    write_checkpoint(tmp_path / "file", "key", checkpoint)
    return tmp_path / "file"


def test_what_was_written_is_read(file, checkpoint):
    found = read_checkpoint(file, "key")
    for one, other in ((found.now, checkpoint.now), (found.good, checkpoint.good)):
        assert one.record == other.record
        assert all(torch.equal(one.tensors[name], tensor) for name, tensor in other.tensors.items())
    assert torch.equal(found.best["weight"], checkpoint.best["weight"])
    assert torch.equal(found.memory["seen"], checkpoint.memory["seen"])
    assert found.record == checkpoint.record


def test_without_good_state_or_memory(file, checkpoint):
    write_checkpoint(file, "key", replace(checkpoint, good=None, memory={}))
    assert read_checkpoint(file, "key").good is None


def test_any_byte_that_is_changed_is_noticed(file):
    content = file.read_bytes()
    for place in range(len(content)):
        for flip in (0x01, 0x20, 0x80):
            file.write_bytes(content[:place] + bytes([content[place] ^ flip]) + content[place + 1 :])
            with pytest.raises(ArtifactError, match="altered"):
                read_checkpoint(file, "key")
    file.write_bytes(content)
    read_checkpoint(file, "key")


def test_changed_tensors_are_called_damaged(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match="is a damaged checkpoint"):
        read_checkpoint(file, "other key")


def test_one_whose_digest_was_taken_out_is_none(file):
    content = file.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    del header["digest"]
    save_file(load_file(file), file, header)
    with pytest.raises(ArtifactError, match="is no checkpoint"):
        read_checkpoint(file, "key")
