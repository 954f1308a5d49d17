"""Tests run side by side: a thread each, or they wait for one another's. What is cached belongs to the test run."""

import os
import tempfile

import torch

torch.set_num_threads(1)
os.environ.setdefault("MARTENSITE_CACHE", tempfile.mkdtemp(prefix="martensite-test-"))
