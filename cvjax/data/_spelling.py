"""Between text and tokens, by a vocabulary alone: what a token stands for is its name.

Names are pieces of text, characters or longer; or, all of them, bytes, written "<0x41>".
"""

from collections.abc import Sequence

from cvjax.errors import UserError

BYTES = tuple(f"<0x{i:02X}>" for i in range(256))


def encode(text: str, classes: Sequence[str]) -> list[int]:
    """Ids of the longest pieces that fit, from the left. Raises UserError for a character that is in no piece that fits."""
    if tuple(classes) == BYTES:
        return list(text.encode())
    ids = {name: i for i, name in enumerate(classes)}
    longest = max(map(len, classes))
    found: list[int] = []
    at = 0
    while at < len(text):
        piece = next((text[at : at + n] for n in range(longest, 0, -1) if text[at : at + n] in ids), "")
        if not piece:
            raise UserError(f"{text[at]!r} is not in the vocabulary of this network; write without it")
        found.append(ids[piece])
        at += len(piece)
    return found


def decode(ids: Sequence[int], classes: Sequence[str]) -> str:
    """The text; bytes that are no UTF-8 become U+FFFD."""
    if tuple(classes) == BYTES:
        return bytes(map(int, ids)).decode(errors="replace")
    return "".join(classes[i] for i in ids)
