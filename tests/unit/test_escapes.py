"""Nothing that a record or an error holds is acted on by a terminal."""

from __future__ import annotations

import json
import unicodedata

import orjson
from hypothesis import given
from hypothesis import strategies as st

from papyra_flow.escapes import visible, visible_json, visible_lines

ANY = st.text(st.characters())
BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def acts(char: str) -> bool:
    """By Unicode's own properties: controls, surrogates, and what changes the direction of others."""
    return unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} or unicodedata.bidirectional(char) in BIDI


@given(ANY)
def test_a_line_holds_nothing_that_acts(text: str) -> None:
    shown = visible(text)
    assert [char for char in shown if acts(char)] == []
    assert shown == text or any(acts(char) or unicodedata.category(char) == "Cf" for char in text)


@given(ANY)
def test_a_page_keeps_its_lines_and_tabs_only(text: str) -> None:
    assert {char for char in visible_lines(text) if acts(char)} <= {"\n", "\t"}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_means_the_same_and_holds_nothing_that_acts(text: str) -> None:
    shown = visible_json(orjson.dumps({"text": text}))
    assert json.loads(shown) == {"text": text}
    assert [char for char in shown.decode() if acts(char)] == []


def test_no_character_that_acts_is_left_out() -> None:
    tags = range(0xE0000, 0xE0080)  # invisible, and read by whatever reads text
    acting = [char for char in map(chr, range(0x110000)) if acts(char) or ord(char) in tags]
    assert [char for char in acting if char in visible(char)] == []
    assert [char for char in acting if char not in "\n\t" and char in visible_lines(char)] == []
    document = orjson.dumps("".join(char for char in acting if unicodedata.category(char) != "Cs"))
    assert [char for char in acting if char in visible_json(document).decode()] == []


def test_what_a_document_holds_beyond_16_bits_is_a_pair() -> None:
    assert visible_json(orjson.dumps("\U000e0041")) == rb'"\udb40\udc41"'
