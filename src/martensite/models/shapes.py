"""Which input shapes the image architectures take."""

from martensite.core.errors import ModelError


def image_shape(name: str, shape: tuple[int, ...], smallest: int) -> tuple[int, int, int]:
    """The shape as (C, H, W), if it is that of an image whose sides are long enough.

    Args:
        name: The architecture, for the message.
        shape: Shape of one input, without the batch.
        smallest: Least height and width.

    Raises:
        ModelError: not three axes, or a side below ``smallest``.
    """
    if len(shape) != 3:
        remedy = (
            "add a channel axis: x[:, None] makes (n, 1, H, W)" if len(shape) == 2 else "the architecture 'mlp' takes any shape"
        )
        raise ModelError(f"{name} was given inputs of shape {shape}", "it takes images (C, H, W)", remedy)
    channels, height, width = shape
    if channels < 1 or min(height, width) < smallest:
        raise ModelError(
            f"{name} was given images of shape {shape}",
            f"it takes (C, H, W) with C >= 1 and sides of at least {smallest}",
            "enlarge the images, or take the architecture 'mlp', which fits any shape",
        )
    return channels, height, width
