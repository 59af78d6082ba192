"""Decoding against pictures whose pixels we know, in every mode a user's folder may hold."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from cvjax.data._decode import DecodeError, Encoded, decode, size

EXIF_ORIENTATION = 0x0112
# How a camera held that way stores an upright picture: the inverse of what the viewer must do (Pillow turns leftwards).
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def picture(height=40, width=56):
    """Smooth, without symmetry, so that JPEG keeps it and every rotation shows."""
    y, x = np.mgrid[:height, :width]
    planes = [x * 255 // width, y * 255 // height, (x + 2 * y) * 255 // (width + 2 * height)]
    return np.stack(planes, -1).astype(np.uint8)


def noise(width, height):
    return np.asarray(Image.effect_noise((width, height), 90).convert("RGB"))


def saved(image, form="PNG", **options):
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, form, **options)
    return out.getvalue()


def close(a, b, within):
    assert a.shape == b.shape and a.dtype == np.uint8
    assert np.abs(a.astype(int) - b.astype(int)).max() <= within


def test_lossless_rgb_comes_back_exactly():
    for form in ("PNG", "BMP", "TIFF", "PPM"):
        np.testing.assert_array_equal(decode(saved(picture(), form)), picture())


def test_jpeg_equals_pillow():
    for options in ({}, {"progressive": True}, {"subsampling": 2}, {"quality": 30}):
        data = saved(picture(), "JPEG", **options)
        close(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), 0)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_grey_is_repeated_and_kept_when_asked_for(form):
    grey = picture()[..., 0]
    data = saved(grey, form, **({"quality": 100} if form == "JPEG" else {}))
    close(decode(data), np.repeat(grey[..., None], 3, -1), 2)
    close(decode(data, channels=1), grey[..., None], 2)


def test_one_bit():
    bits = picture()[..., 0] > 100
    np.testing.assert_array_equal(decode(saved(Image.fromarray(bits)))[..., 1], bits * 255)


def test_palette_with_and_without_transparency():
    image = Image.fromarray(picture()).quantize(8)
    colours = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(decode(saved(image)), colours)
    np.testing.assert_array_equal(decode(saved(image, transparency=0)), colours)
    np.testing.assert_array_equal(decode(saved(image, transparency=bytes(range(8)))), colours)
    np.testing.assert_array_equal(decode(saved(image, "GIF")), colours)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_dropped_not_blended(mode):
    image = Image.fromarray(picture()).convert(mode)
    opaque = np.asarray(image.convert("RGB"))
    image.putalpha(Image.fromarray(picture()[..., 1]))
    np.testing.assert_array_equal(decode(saved(image)), opaque)


def test_sixteen_bit_grey_is_scaled_not_clipped():
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    expected = np.round(values / 257)
    np.testing.assert_array_equal(decode(saved(values))[..., 0], expected)
    np.testing.assert_array_equal(decode(saved(values, "TIFF"))[..., 0], expected)


def test_sixteen_bit_rgb():
    deep = picture().astype(np.uint16) * 257
    close(decode(cv2.imencode(".png", deep[..., ::-1])[1].tobytes()), picture(), 1)


def test_cmyk_jpeg_also_inverted_and_ycck():
    data = saved(Image.fromarray(picture()).convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data  # whose inks are stored inverted
    close(decode(data), picture(), 12)
    ycck = bytearray(data)
    ycck[data.index(b"Adobe") + 11] = 2  # the same numbers, said to be YCCK
    reference = np.asarray(Image.open(io.BytesIO(bytes(ycck))).convert("RGB"))
    close(decode(bytes(ycck)), reference, 0)
    assert np.abs(reference.astype(int) - picture()).max() > 50


def test_float_pixels_are_refused_in_words():
    with pytest.raises(DecodeError, match="floating-point"):
        decode(saved(Image.fromarray(picture()[..., 0].astype(np.float32)), "TIFF"))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_upright(orientation, form):
    upright = Image.fromarray(picture())
    stored = upright.transpose(STORED[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    quality = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    data = saved(stored, form, exif=exif, **(quality[form] if form in quality else {}))
    assert size(data) == Encoded(data).size == (40, 56)
    close(decode(data), picture(), 4 if form == "JPEG" else 0)
    assert decode(data, at_least=(10, 14)).shape == ((10, 14, 3) if form == "JPEG" else (40, 56, 3))


def test_sizes_come_from_the_header():
    for form in ("JPEG", "PNG", "GIF", "WEBP"):
        assert size(saved(picture(), form)) == (40, 56)


def test_reduced_decoding_is_no_smaller_than_asked_and_shows_the_same():
    data = saved(picture(400, 560), "JPEG", quality=95)
    assert decode(data, at_least=(201, 100)).shape == (400, 560, 3)
    assert decode(data, at_least=(200, 280)).shape == (200, 280, 3)
    small = decode(data, at_least=(40, 60))
    assert small.shape == (50, 70, 3)
    close(small, decode(data).reshape(50, 8, 70, 8, 3).mean((1, 3)).round().astype(np.uint8), 4)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 2}])
@pytest.mark.parametrize("at_least", [None, (50, 60)])
def test_leaving_out_the_bottom_changes_nothing_above(options, at_least):
    data = saved(noise(333, 251), "JPEG", **options)
    whole = decode(data, at_least=at_least)
    scale = whole.shape[1] / 333
    for rows in (1, 16, 100, 219, 251):
        top = decode(data, at_least=at_least, rows=rows)
        needed = round(rows * scale)
        assert top.shape[0] >= needed and top.shape[1] == whole.shape[1]
        np.testing.assert_array_equal(top[:needed], whole[:needed])
    assert decode(data, rows=16).shape[0] < 251


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF"])
def test_damage_is_one_kind_of_error(form):
    data = saved(noise(160, 120), form)
    half = data[: len(data) // 2]
    for broken in (half, data[:20], b"", b"hello", b"\xff\xd8\xff\xe0"):
        with pytest.raises(DecodeError):
            decode(broken)
    with pytest.raises(DecodeError):
        decode(half, rows=8)


def test_surplus_bytes_inside_a_jpeg_are_forgiven():
    data = saved(picture(), "JPEG")
    close(decode(data[:-2] + b"\0\0\0" + data[-2:]), decode(data), 0)
