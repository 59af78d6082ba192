"""From the bytes of an image file to uint8 pixels, the same everywhere, whatever was in the file.

Plain JPEGs go through libjpeg-turbo (simplejpeg), plain PNGs through OpenCV, everything else through Pillow. What the
field does is done here too: alpha is dropped, not blended (as torchvision, timm and TensorFlow do); CMYK is converted
without a colour profile; EXIF orientation is applied; of animations the first frame is taken. 16-bit grey is scaled to
8 bits, not clipped.
"""

import io
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg
from PIL import Image
from PIL.ExifTags import Base

from cvjax.errors import UserError

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm")

# EXIF orientation -> pixels as they should be seen. 5-8 swap height and width.
_UPRIGHT = {
    1: lambda x: x,
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


def is_picture(path: Path) -> bool:
    """True for a file that is a picture by the ending of its name, hidden files aside."""
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file()


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

    def pixels(self, at_least: tuple[int, int] | None = None, rows: int | None = None) -> np.ndarray:
        """uint8 h w 3; see `decode`."""
        return decode(self.data, at_least=at_least, rows=rows)


def decode(data: bytes, channels: int = 3, at_least: tuple[int, int] | None = None, rows: int | None = None) -> np.ndarray:
    """Pixels of an image file, uint8 h w c, upright.

    Args:
        data: content of the file.
        channels: 3 (RGB) or 1 (grey).
        at_least: (h, w) that suffice: a JPEG of twice that size or more is decoded at the smallest scale n/8, n <= 4,
            that is not smaller in either direction. (The scales above 1/2 save no time.)
        rows: how many rows from the top are needed. A JPEG may then lack those below; the ones that are there are
            exact.

    Raises:
        DecodeError: damaged, cut off, or of a kind that has no one meaning in 8 bits (float, 32-bit).
    """
    try:
        if header := _jpeg_header(data):
            pixels = _decode_jpeg(data, header, channels, at_least, rows)
        else:
            pixels = _decode_png(data, channels) if _plain_png(data) else None
        return _decode_other(data, channels) if pixels is None else pixels
    except DecodeError:
        raise
    except Exception as error:  # Pillow's plugins raise whatever comes to hand
        raise DecodeError(f"not a readable image ({_reason(error)})") from error


def size(data: bytes) -> tuple[int, int]:
    """(height, width) of an image file, upright, from its header. Raises DecodeError."""
    try:
        if header := _jpeg_header(data):
            height, width, turned = header.height, header.width, _orientation(data, header) >= 5
        elif _plain_png(data):  # Pillow would decode all of it in search of an orientation
            width, height, turned = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"), False
        else:
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size
                turned = _tag(image) >= 5
    except Exception as error:
        raise DecodeError(f"not a readable image ({_reason(error)})") from error
    return (width, height) if turned else (height, width)


class _Header(NamedTuple):
    """Where the start-of-frame segment lies, the size in it, and whether there is metadata that may ask for a
    rotation.
    """

    at: int
    height: int
    width: int
    metadata: bool


def _jpeg_header(data: bytes) -> _Header | None:
    """Of a JPEG that libjpeg-turbo turns into RGB or grey: 8 bits, 1 or 3 components, baseline or progressive; else
    None.
    """
    at, metadata = 2, False
    while data[:2] == b"\xff\xd8" and at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if 0xC0 <= marker <= 0xC2:
            bits, components = data[at + 4], data[at + 9]
            height, width = (int.from_bytes(data[at + k : at + k + 2], "big") for k in (5, 7))
            return _Header(at, height, width, metadata) if bits == 8 and components in (1, 3) else None
        metadata |= marker == 0xE1
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _decode_jpeg(data: bytes, header: _Header, channels: int, at_least: tuple[int, int] | None, rows: int | None) -> np.ndarray | None:
    turn, kept = _orientation(data, header), data
    tall, wide = at_least or (0, 0)
    if turn >= 5:
        tall, wide = wide, tall
    if rows is not None and turn == 1:
        kept = _without_bottom(data, header, rows)
        tall = math.ceil(tall * rows / header.height) if kept is not data else tall
    colours, strict = "GRAY" if channels == 1 else "RGB", kept is data
    try:
        pixels = simplejpeg.decode_jpeg(kept, colours, min_height=tall, min_width=wide, min_factor=2, strict=strict)
    except ValueError:
        return None  # harmless surplus bytes, or cut off: Pillow forgives the one and refuses the other
    return np.ascontiguousarray(_UPRIGHT[turn](pixels))


def _without_bottom(data: bytes, header: _Header, rows: int) -> bytes:
    """The JPEG with a smaller height in its header: the decoder stops there, and does not read what follows.

    Two rows of blocks more than asked for stay, since smooth upsampling of colour looks one row down. Files that do not
    end as they should are left alone: a decoder that stops early would not notice that they are cut off.
    """
    kept = 16 * (rows // 16 + 2)
    if kept >= header.height or b"\xff\xd9" not in data[-64:]:
        return data
    return data[: header.at + 5] + kept.to_bytes(2, "big") + data[header.at + 7 :]


def _plain_png(data: bytes) -> bool:
    """Whether a PNG is of 8 bits, grey or RGB, upright and all opaque: small pictures decode three times faster by
    OpenCV.
    """
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[24:26] in (b"\x08\0", b"\x08\2") and b"eXIf" not in data and b"tRNS" not in data


def _decode_png(data: bytes, channels: int) -> np.ndarray | None:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB)
    return pixels[..., None] if channels == 1 and pixels is not None else pixels  # None: damaged, Pillow says how


def _decode_other(data: bytes, channels: int) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as opened:
        image, turn = opened, _tag(opened)
        if image.mode.startswith("I;16") or (image.mode == "I" and opened.format == "PNG"):
            image = Image.fromarray(((np.asarray(image).astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
        elif image.mode in ("F", "I"):
            kind = "floating-point" if image.mode == "F" else "32-bit"
            raise DecodeError(f"{kind} pixels have no fixed range; save it as an 8- or 16-bit image")
        if image.mode in ("P", "PA"):
            image = image.convert("RGBA")  # Pillow warns of palettes whose transparency goes straight to RGB
        pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return np.ascontiguousarray(_UPRIGHT[turn](pixels[..., None] if channels == 1 else pixels))


def _orientation(data: bytes, header: _Header) -> int:
    if not header.metadata:
        return 1  # asking Pillow costs more than decoding a thumbnail
    with Image.open(io.BytesIO(data)) as image:
        return _tag(image)


def _tag(image: Image.Image) -> int:
    """The EXIF orientation that is left to apply: Pillow turns TIFFs itself."""
    tag = 1 if image.format == "TIFF" else image.getexif().get(Base.Orientation, 1)
    return tag if tag in _UPRIGHT else 1


def _reason(error: Exception) -> str:
    text = str(error).split("\n")[0]
    return "no known image format" if "cannot identify" in text else text or type(error).__name__
