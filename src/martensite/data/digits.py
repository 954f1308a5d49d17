"""scikit-learn's digits: 1,797 real 8 x 8 images that come with the library, so that nothing has to be fetched."""

import torch

from martensite.data.dataset import Dataset
from martensite.data.split import part

FRACTIONS = (0.6, 0.15, 0.25)
LARGEST = 16.0


def load_digits(split: str = "test") -> Dataset:
    """x (n, 1, 8, 8) in [0, 1], ten classes: 1,078 training, 270 validation and 449 test images, 1,797 in ``"all"``."""
    # Slow to import, and only this source needs it.
    from sklearn.datasets import load_digits as read

    bunch = read()
    x = torch.from_numpy(bunch.images).to(torch.float32).unsqueeze(1) / LARGEST
    return part(Dataset(x, torch.from_numpy(bunch.target), 10, "digits"), split, FRACTIONS)
