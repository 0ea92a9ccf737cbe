"""Text in the encodings of many languages: read right or rejected, never as other text."""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.errors import FileRejected
from vector_pipeline.text.encodings.decode import BLOCK_BYTES, TextStream, clean, decode
from vector_pipeline_tests.support.sentences import LANGUAGES, Language

BY_NAME = {language.name: language for language in LANGUAGES}
KOREAN = BY_NAME["Korean"].text


def _texts(language: Language) -> Iterator[tuple[str, str]]:
    """Texts by length: words, phrases, sentences, a page, 100 KB."""
    for sentence in language.sentences:
        words = sentence.split()
        if len(words) == 1:
            yield "phrase", sentence[:6]
        for size, name in ((1, "word"), (3, "phrase")):
            for start in range(0, len(words) - size + 1, size):
                yield name, " ".join(words[start : start + size])
        yield "sentence", sentence
    yield "page", language.text
    yield "100 KB", "\n".join(language.sentences * 200)


def _outcomes() -> dict[str, Counter[str]]:
    outcomes: dict[str, Counter[str]] = {}
    for language in LANGUAGES:
        for encoding in language.encodings:
            for length, text in _texts(language):
                try:
                    data = text.encode(encoding)
                except UnicodeEncodeError:
                    continue
                if text.isascii():
                    continue
                try:
                    outcome = "right" if decode(data).text == text else f"wrong: {language.name} in {encoding}: {text}"
                except FileRejected:
                    outcome = "rejected"
                outcomes.setdefault(length, Counter())[outcome] += 1
    return outcomes


@pytest.mark.slow
def test_texts_of_every_length_are_read_right_or_rejected() -> None:
    outcomes = _outcomes()
    assert not [outcome for counter in outcomes.values() for outcome in counter if outcome.startswith("wrong")]
    assert set(outcomes["page"]) == set(outcomes["100 KB"]) == {"right"}
    # What is left in doubt is mostly short, or in encodings of the eighties.
    assert outcomes["sentence"]["right"] > 7 * outcomes["sentence"]["rejected"]
    assert outcomes["word"]["right"] > 300


@pytest.mark.parametrize("language", ["Korean", "Japanese", "Chinese (simplified)", "Russian", "Greek", "Thai"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_is_read_with_and_without_its_mark(encoding: str, language: str) -> None:
    text = BY_NAME[language].text
    decoded = decode(text.encode(encoding))
    assert (decoded.text, decoded.encoding, decoded.removed) == (text, encoding.removesuffix("-sig"), 0)


@pytest.mark.parametrize("before", ["", "x" * BLOCK_BYTES, "x" * (BLOCK_BYTES - 6), "x" * (BLOCK_BYTES - 7)])
@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("iso2022_kr", KOREAN),
        ("iso2022_jp", BY_NAME["Japanese"].text),
        ("iso2022_jp_ext", BY_NAME["Japanese"].text + "ｶﾀｶﾅ"),
    ],
)
def test_text_in_seven_bits_is_read_wherever_it_begins(encoding: str, text: str, before: str) -> None:
    data = text.encode(encoding)
    data = before.encode() + b"\n" + data
    assert decode(data).text == f"{before}\n{text}"
    assert "".join(TextStream(io.BytesIO(data)).lines()) == f"{before}\n{text}"


def test_text_in_seven_bits_that_cannot_be_read_is_rejected() -> None:
    for damaged in (b"\x1b$B\x7f\x7f\x1b(B", b"\x1b$)A\x0eVPND\x0f", b"\x1b$)C\x0eGQ1"):
        with pytest.raises(FileRejected, match=r"ISO-2022|iso2022"):
            decode(damaged)
    escapes = "한글 and \x1b$B as a terminal gets it"
    assert decode(escapes.encode()).text == escapes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("Korean", "cp949"), ("Korean", "utf-8")),
        (("Korean", "cp949"), ("Japanese", "shift_jis")),
        (("Chinese (simplified)", "gb18030"), ("Chinese (simplified)", "utf-8")),
        (("Chinese (simplified)", "gb18030"), ("Korean", "cp949")),
        (("Japanese", "euc_jp"), ("Japanese", "shift_jis")),
        (("French", "cp1252"), ("French", "utf-8")),
        (("Russian", "cp1251"), ("Russian", "utf-8")),
        (("Korean", "utf-8"), ("Korean", "cp949")),
    ],
)
def test_two_encodings_in_one_file_are_rejected(first: tuple[str, str], second: tuple[str, str]) -> None:
    large = BY_NAME[first[0]].text.encode(first[1]) + b"\n"
    small = BY_NAME[second[0]].text.encode(second[1]) + b"\n"
    with pytest.raises(FileRejected, match="UTF-8"):
        decode(large * 20 + small + large * 20)


@pytest.mark.parametrize(
    ("encoding", "end"), [("cp1252", "It’s naïve."), ("cp949", KOREAN), ("cp1251", BY_NAME["Russian"].text)]
)
def test_the_first_character_that_counts_may_come_late(encoding: str, end: str) -> None:
    text = "It was the end of the day, and nobody had come to see what was in the box.\n" * 5_000 + end
    assert decode(text.encode(encoding)).text == text


def test_text_of_no_supported_encoding_is_rejected() -> None:
    for encoding, name in (
        ("johab", "Korean"),
        ("cp737", "Greek"),
        ("cp862", "Hebrew"),
        ("cp852", "Polish"),
        ("cp500", "English"),
    ):
        with pytest.raises(FileRejected, match=r"binary|cannot be detected"):
            decode(BY_NAME[name].text.encode(encoding, "ignore"))


def test_a_reason_names_the_line() -> None:
    with pytest.raises(FileRejected, match=r"line 1,001 \(byte 0xff\)"):
        decode("한 줄\n".encode() * 1_000 + b"\xff" + "\n한 줄".encode() * 1_000)
    with pytest.raises(FileRejected, match=r"line 3 \(byte 0xd8\) is not utf-16"):
        decode(b"\xfe\xff" + "한\n두\n".encode("utf-16-be") + b"\xd8\x00\x00a")


def test_a_declared_encoding_is_believed_where_the_bytes_agree() -> None:
    word = "그".encode("cp949")
    with pytest.raises(FileRejected, match="cannot be detected"):
        decode(word)
    assert decode(word, declared="cp949").text == "그"
    assert decode(KOREAN.encode(), declared="cp949").text == KOREAN
    assert decode(KOREAN.encode("cp949"), declared="cp1252").text == KOREAN


@pytest.mark.parametrize("text", ["a" * (2 * BLOCK_BYTES) + "한글", "한" * BLOCK_BYTES])
def test_text_longer_than_a_block_is_whole(text: str) -> None:
    assert decode(text.encode()).text == text


@pytest.mark.slow
@given(st.data())
def test_sentences_shuffled_are_read_right_or_rejected(data: st.DataObject) -> None:
    language = data.draw(st.sampled_from(LANGUAGES))
    encoding = data.draw(st.sampled_from(language.encodings))
    words = [word for sentence in language.sentences for word in sentence.split()]
    text = " ".join(data.draw(st.lists(st.sampled_from(words), min_size=1, max_size=30)))
    try:
        decoded = decode(text.encode(encoding, "ignore"))
    except FileRejected:
        return
    assert decoded.text == text.encode(encoding, "ignore").decode(encoding)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1255", "מזג מזג מזג"),
        ("cp1255", "אז אז אז אז אז אז אז אז"),
        ("cp1256", "فقط, فقط, فقط, فقط, فقط, فقط"),
        ("cp1256", "لقمہ لقمہ لقمہ لقمہ لقمہ"),
        ("cp949", "쏴 쏴 쏴"),
        ("gb18030", "剧剧剧剧剧"),
        ("gb18030", "输输"),
        ("euc_jp", "友人" * 8),
        ("euc_jp", "神経"),
        ("iso8859_2", "zajišťuje zajišťuje zajišťuje "),
        ("cp1252", "Augum Vetrar Ég Finnast Æðstu "),
    ],
)
def test_little_evidence_decides_no_encoding(encoding: str, text: str) -> None:
    try:
        assert decode(text.encode(encoding)).text == text
    except FileRejected:
        return


def _short_texts(language: Language, draw: random.Random, number: int) -> Iterator[str]:
    """Texts of 1 to 30 letters: words, words repeated, names, capitals."""
    words = sorted({word for sentence in language.sentences for word in sentence.split()})
    for _ in range(number):
        drawn = draw.choices(words, k=draw.randint(1, 6))
        if draw.random() < 0.3:
            drawn = drawn[:1] * draw.randint(2, 8)
        text = " ".join(word.capitalize() if draw.random() < 0.1 else word for word in drawn)[:30]
        yield text.upper() if draw.random() < 0.05 else text


@pytest.mark.slow
def test_short_texts_are_hardly_ever_read_as_other_text() -> None:
    draw = random.Random(0)
    outcomes: Counter[str] = Counter()
    wrong = []
    for language in LANGUAGES:
        for encoding in language.encodings:
            for text in _short_texts(language, draw, 60):
                data = text.encode(encoding, "ignore")
                if _is_utf8(data):
                    continue
                try:
                    outcome = decode(data).text == data.decode(encoding)
                except FileRejected:
                    outcomes["rejected"] += 1
                    continue
                outcomes["right" if outcome else "wrong"] += 1
                wrong += [(encoding, text)] * (not outcome)
    assert outcomes["wrong"] <= 1, wrong
    assert outcomes["right"] > outcomes["rejected"] * 0.6


def _is_utf8(data: bytes) -> bool:
    return data.decode(errors="ignore").encode() == data


def test_capitals_of_greek_are_read_whatever_their_small_letters_are() -> None:
    text = "Ο ΔΡΟΜΟΣ ΠΡΟΣ ΤΗ ΘΑΛΑΣΣΑ ΕΙΝΑΙ ΚΛΕΙΣΤΟΣ ΣΗΜΕΡΑ. ΤΑ ΠΛΟΙΑ ΠΕΡΙΜΕΝΟΥΝ ΣΤΟ ΛΙΜΑΝΙ ΤΗΣ ΝΗΣΟΥ. " * 3
    assert decode(text.encode("cp1253")).text == text


@given(st.binary(max_size=2_000))
def test_any_bytes_are_decoded_or_rejected(data: bytes) -> None:
    try:
        decoded = decode(data)
    except FileRejected:
        return
    decoded.text.encode()
    assert "\x00" not in decoded.text
    assert "\r" not in decoded.text


@given(st.text(st.characters(codec=None), max_size=100))
def test_cleaned_text_is_what_postgres_and_json_take(text: str) -> None:
    cleaned, removed = clean(text)
    cleaned.encode()
    assert "\x00" not in cleaned
    assert "\r" not in cleaned
    assert clean(cleaned) == (cleaned, 0)
    halves = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    lost = len(text.encode("utf-16-le", "surrogatepass")) - len(halves.encode("utf-16-le"))
    assert removed == text.count("\x00") + lost // 2


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=200))
def test_utf8_comes_back_as_it_was(text: str) -> None:
    if not text.startswith("\ufeff"):
        assert decode(text.encode()).text == text
