from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nerfcomp.codec.header import MAX_HEADER, dump_header, load_header
from nerfcomp.errors import ContainerError

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children, max_size=3),
    max_leaves=10,
)


@pytest.mark.slow
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=6), VALUES, max_size=4))
def test_round_trip(header: dict[str, Any]) -> None:
    data = dump_header(header)
    assert load_header(data) == header
    assert dump_header(dict(reversed(list(header.items())))) == data


@pytest.mark.parametrize(
    "data, sentence",
    [
        (b'{"a":NaN}', "NaN"),
        (b'{"a":-Infinity}', "Infinity"),
        (b'{"a":[1e999]}', "not finite"),
        (b'{"a":1' + b"0" * 30 + b"}", "64 bits"),
        (b'{"a":' + b"9" * 10000 + b"}", "64 bits"),
        (b'{"a":9223372036854775808}', "64 bits"),
        (b'{"a":1,"a":2}', "twice"),
        (b'{"b":{"a":1,"a":2}}', "twice"),
        (b"[1]", "object"),
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"a":1}x', "not valid JSON"),
        (b"\xff{}", "not valid JSON"),
        (b'{"a":' * 20 + b"1" + b"}" * 20, "deeper"),
        (b"[" * 200000, "not valid JSON"),
        (b'{"a":' * 150000, "not valid JSON"),
        (b" " * (MAX_HEADER + 1), "at most"),
    ],
    ids=lambda value: str(value[:24]),
)
def test_refusals_say_why(data: bytes, sentence: str) -> None:
    with pytest.raises(ContainerError, match=sentence):
        load_header(data)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**63, b"bytes", {1, 2}, "\ud800"])
def test_values_outside_json_are_not_written(value: Any) -> None:
    with pytest.raises(ContainerError):
        dump_header({"a": value})
