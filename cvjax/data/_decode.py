"""From the bytes of an image file to uint8 pixels, the same everywhere, whatever was in the file.

Plain JPEGs go through libjpeg-turbo (simplejpeg), everything else through Pillow. What the field does is done here too:
alpha is dropped, not blended (as torchvision, timm and TensorFlow do); CMYK is converted without a colour profile; EXIF
orientation is applied; of animations the first frame is taken. 16-bit grey is scaled to 8 bits, not clipped.
"""

import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import simplejpeg
from PIL import Image, ImageOps
from PIL.ExifTags import Base

from cvjax.config import UserError

# EXIF orientation -> pixels as they should be seen. 5-8 swap height and width.
_UPRIGHT = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x.swapaxes(0, 1)[:, ::-1],
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x.swapaxes(0, 1)[::-1],
}


class DecodeError(UserError):
    """Bytes that are no readable image. The message does not name the file: whoever knows the name adds it."""


@dataclass(frozen=True)
class Encoded:
    """An image still in its file's bytes: its size is known from the header, its pixels wait until somebody needs them.

    A crop can thus be chosen before decoding, and a large photo be decoded at the reduced scale that the crop allows.
    """

    data: bytes

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width), upright."""
        return size(self.data)

    def pixels(self, channels: int = 3, at_least: tuple[int, int] | None = None) -> np.ndarray:
        """See `decode`."""
        return decode(self.data, channels, at_least)


def decode(data: bytes, channels: int = 3, at_least: tuple[int, int] | None = None) -> np.ndarray:
    """Pixels of an image file, uint8 h w c, upright.

    Args:
        data: content of the file.
        channels: 3 (RGB) or 1 (grey).
        at_least: (h, w) that suffice; a JPEG is then decoded at the smallest scale n/8 that is not smaller in either direction.

    Raises:
        DecodeError: damaged, cut off, or of a kind that has no one meaning in 8 bits (float, 32-bit).
    """
    try:
        pixels = _decode_jpeg(data, channels, at_least) if _plain_jpeg(data) else None
        return _decode_other(data, channels) if pixels is None else pixels
    except DecodeError:
        raise
    except Exception as error:  # Pillow's plugins raise whatever comes to hand
        raise DecodeError(f"not a readable image ({_reason(error)})") from error


def size(data: bytes) -> tuple[int, int]:
    """(height, width) of an image file, upright, from its header. Raises DecodeError."""
    try:
        if _plain_jpeg(data):
            height, width = simplejpeg.decode_jpeg_header(data)[:2]
            turned = _orientation(data) >= 5
        else:
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size
                turned = _tag(image) >= 5
    except Exception as error:
        raise DecodeError(f"not a readable image ({_reason(error)})") from error
    return (width, height) if turned else (height, width)


def _plain_jpeg(data: bytes) -> bool:
    """Whether libjpeg-turbo gives the RGB or grey pixels directly; CMYK, lossless and 12-bit JPEGs are left to Pillow."""
    if data[:3] != b"\xff\xd8\xff":
        return False
    try:
        return simplejpeg.decode_jpeg_header(data)[2] in ("RGB", "YCbCr", "Gray")
    except ValueError:
        return False


def _decode_jpeg(data: bytes, channels: int, at_least: tuple[int, int] | None) -> np.ndarray | None:
    turn = _orientation(data)
    height, width = (at_least or (0, 0))[:: -1 if turn >= 5 else 1]
    try:
        pixels = simplejpeg.decode_jpeg(data, "GRAY" if channels == 1 else "RGB", min_height=height, min_width=width)
    except ValueError:
        return None  # harmless surplus bytes, or cut off: Pillow forgives the one and refuses the other
    return np.ascontiguousarray(_UPRIGHT[turn](pixels)) if turn > 1 else pixels


def _decode_other(data: bytes, channels: int) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16") or image.mode == "I" and opened.format == "PNG":
            grey = np.asarray(image).astype(np.uint32)
            image = Image.fromarray(((grey * 255 + 32767) // 65535).astype(np.uint8))
        elif image.mode in ("F", "I"):
            kind = "floating-point" if image.mode == "F" else "32-bit"
            raise DecodeError(f"{kind} pixels have no fixed range; save it as an 8- or 16-bit image")
        if image.mode in ("P", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")  # colours of the palette first: what is transparent is not thereby black
        pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return pixels[..., None] if channels == 1 else pixels


def _orientation(data: bytes) -> int:
    if b"Exif\0\0" not in data and b"tiff:Orientation" not in data:
        return 1  # Pillow's own header reading costs more than the decoding of a thumbnail
    with Image.open(io.BytesIO(data)) as image:
        return _tag(image)


def _tag(image: Image.Image) -> int:
    tag = image.getexif().get(Base.Orientation, 1)
    return tag if tag in _UPRIGHT else 1


def _reason(error: Exception) -> str:
    text = str(error).split("\n")[0]
    return "no known image format" if "cannot identify" in text else text or type(error).__name__
