"""Augmentations of training images, one a file; labels stay."""

from martensite.training.augmentations.augmentation import AUGMENTATIONS, Augmentation
from martensite.training.augmentations.crop import Crop
from martensite.training.augmentations.cutout import Cutout
from martensite.training.augmentations.flip import Flip

__all__ = ["AUGMENTATIONS", "Augmentation", "Crop", "Cutout", "Flip"]
