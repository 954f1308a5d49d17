"""What an augmentation is: a frozen configuration that changes a batch of images, each by its own random stream."""

from torch import Tensor

from martensite.core.config import Config
from martensite.core.registry import Registry
from martensite.core.rng import Streams
from martensite.threat.ball import Box


class Augmentation(Config):
    """Base of all augmentations."""

    kind: str

    def apply(self, x: Tensor, rng: Streams, box: Box) -> Tensor:
        """Changed images (n, C, H, W), in the box as x is.

        Args:
            x: (n, C, H, W) images in the box.
            rng: One random stream an image.
            box: What is filled in is its lowest value.
        """
        raise NotImplementedError(f"{type(self).__name__} must define apply()")


AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation", Augmentation)
