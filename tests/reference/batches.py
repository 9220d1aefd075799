"""The elements of a JSON array, told apart one character at a time."""

from __future__ import annotations

BLANKS = b" \t\r\n"


def elements(body: bytes) -> list[bytes] | None:
    """Give what stands between the commas of an array, without the blanks around it; None for what is no array."""
    text = body.strip(BLANKS)
    if text[:1] != b"[" or text[-1:] != b"]" or len(text) < 2:
        return None
    found, begin, depth, in_string, escaped = [], 1, 0, False, False
    for at in range(1, len(text) - 1):
        byte = text[at : at + 1]
        if in_string:
            in_string, escaped = escaped or byte != b'"', not escaped and byte == b"\\"
        elif byte == b'"':
            in_string = True
        elif byte in (b"{", b"["):
            depth += 1
        elif byte in (b"}", b"]"):
            depth -= 1
            if depth < 0:
                return None
        elif byte == b"," and depth == 0:
            found.append(text[begin:at].strip(BLANKS))
            begin = at + 1
    found.append(text[begin:-1].strip(BLANKS))
    if in_string or depth or (len(found) > 1 and not all(found)):
        return None
    # A value is followed by a comma: of a bracket or string nothing may stand before or behind, of anything else no blank.
    return [] if found == [b""] else found if all(map(is_one, found)) else None


def is_one(text: bytes) -> bool:
    """Tell whether a text is one value, as far as brackets, quotes and blanks tell."""
    if text[:1] not in (b"{", b"[", b'"'):
        return not any(byte in b' \t\r\n"[]{}' for byte in text)
    depth, in_string, escaped = 0, False, False
    for at in range(len(text)):
        byte = text[at : at + 1]
        if in_string:
            in_string, escaped = escaped or byte != b'"', not escaped and byte == b"\\"
        elif byte == b'"':
            in_string = True
        elif byte in (b"{", b"["):
            depth += 1
        elif byte in (b"}", b"]"):
            depth -= 1
        if depth == 0 and not in_string:
            return at == len(text) - 1
    return False
