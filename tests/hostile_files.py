"""What a hostile file may hold: names, JSON and YAML texts, and array headers that must be refused, never obeyed."""

from __future__ import annotations

HOSTILE_NAMES: tuple[object, ...] = (
    "../evil", "../../evil.pth", "/tmp/evil", "a/b", "a\\b", "..", ".", "", ".hidden", "a.b.c", "a.", "a\0b", "a\nb",
    "a\x1b[31m", "x" * 5000, "ä", "\ud800", "a b", "~", "$HOME", "C:x", None, 3, ["a"], {"a": 1},
)  # fmt: skip

HOSTILE_JSON: dict[str, str] = {
    "lists": "[" * 100_000 + "]" * 100_000,
    "objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "70 levels": "[" * 70 + "]" * 70,
    "5,000 digits": '{"a":\n' + "9" * 5000 + "}",
    "65 bits": '{"a":\n18446744073709551616}',
    "surrogate": '{"a": "\\ud800"}',
    "surrogate as key": '{"\\udfff": 1}',
    "cut off": '{"a": ',
    "empty": "",
    "NaN": '{"a": NaN}',
}

HOSTILE_YAML: dict[str, str] = {
    "lists": "[" * 20_000,
    "block lists": "- " * 20_000 + "a",
    "itself": "&a [*a]",
    "itself in a mapping": "a: &a\n  b: *a",
    "laughs": "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    + "\n".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)),
    "merged laughs": "a0: &a0 {x: 1}\n"
    + "\n".join(f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, 12)),
    "5,000 digits": "a: " + "9" * 5000,
    "hexadecimal": "a: 0x" + "f" * 5000,
    "surrogate": '"\\ud800"',
    "beyond Unicode": '"\\UFFFFFFFF"',
    "a call": '!!python/object/apply:os.system ["true"]',
    "odd truth": "!!bool x",
    "empty number": '!!int ""',
    "no month": "2024-99-99",
    "no time": "!!timestamp x",
    "list as key": "? [a]\n: b",
    "two documents": "--- a\n--- b",
    "control character": "a\x07",
}


def npy(header: str, data: bytes = b"") -> bytes:
    """An `.npy` file with this text as its header."""
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def _described(descr: str, shape: str) -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"


HOSTILE_ARRAYS: dict[str, bytes] = {
    "nothing": b"",
    "a zip": b"PK\x03\x04" + bytes(60),
    "a pickle": b"\x80\x04K\x01.",
    "objects": npy(_described("'|O'", "(1,)"), b"\x80\x04K\x01."),
    "objects in a record": npy(_described("[('a', '|O')]", "(1,)"), bytes(8)),
    "a terabyte": npy(_described("'<u4'", "(1000000000000,)"), b"abcd"),
    "overflow": npy(_described("'<u4'", "(99999999999999999999999,)"), b"abcd"),
    "overflow with a zero": npy(_described("'<u4'", "(0, 4611686018427387904, 4611686018427387904)")),
    "negative": npy(_described("'<u4'", "(-1,)"), b"abcd"),
    "70 sides": npy(_described("'|u1'", str((1,) * 70)), b"a"),
    "no size": npy(_described("'|V0'", "(99999999999,)")),
    "true": npy(_described("'|u1'", "(True,)"), b"a"),
    "brackets": npy("(" * 5000),
    "shorter": npy(_described("'<u4'", "(2,)"), b"abcd"),
    "longer": npy(_described("'<u4'", "(1,)"), b"abcdefgh"),
}
