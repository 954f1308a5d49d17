"""Tests run side by side: a thread each, or they wait for one another's."""

import torch

torch.set_num_threads(1)
