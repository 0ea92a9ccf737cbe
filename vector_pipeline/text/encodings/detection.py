"""Detect the encoding of a text that is not Unicode: the encoding under which it is the most likely text.

A reading is the text under one encoding, judged by one language. The letter frequencies of the language, the case of
the letters and their neighbours give the reading a likelihood (a natural logarithm). The likeliest reading is used only
if it is plausible in itself and every reading with another text is far less likely. Otherwise the file is rejected: no
text is better than a wrong one.

Examples with `_MARGIN` = 5:

- "Привет, как дела?" in cp1251, 17 bytes. The best reading has -42.0 (cp1251). Those of Bulgarian, Serbian, Russian
  and Ukrainian have the same text, so they do not compete. The best reading with another text has -47.9 (cp1255,
  Hebrew: "ֿנטגוע, ךאך הוכא?"). The difference is 5.9, so the encoding is cp1251.
- "Москва" in cp1251, 6 bytes. The best reading has -21.7 and cp1255 has -25.8. The difference is 4.1, so nothing is
  decided and the file is rejected.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache

import regex

from vector_pipeline.text.encodings.languages import SCRIPTS, Script

# Sizes of the sample in bytes. The first decides nearly every text; otherwise the next is tried.
_LOOKS = (1536, 8 * 1024, 32 * 1024)

# How much likelier the best reading must be than the next, as a natural logarithm: 5 is 148 times as likely.
_MARGIN = 5.0

# What is added to the likelihood of readings in the encoding that the file declares.
_DECLARED = 20.0

# The lowest plausible mean of the logarithms of the probabilities of a text's characters outside ASCII.
_FLOOR_LATIN = -6.0
_FLOOR_ALPHABET = -4.3
_FLOOR_IDEOGRAPHS = -9.25

# What a common word of a language adds to the likelihood. Only the first `_WORDS` count: letters decide the rest.
_WORD_WEIGHT = 3.0
_WORDS = 10
# What a letter that is rare in the language subtracts. Again only the first `_WORDS` count.
_RARE_WEIGHT = 2.5

# The highest share of odd characters among those outside ASCII (see `Reading.odd`).
_ODD_SHARE = 0.02

# Fewer different letters than these do not decide an encoding.
_ENOUGH_LETTERS = 4
_ENOUGH_IDEOGRAPHS = 3

_UNEXPECTED = -16.0
_FOREIGN = -13.5
# Of 25 letters one is a capital.
_CAPITAL = math.log(0.04)
_PUNCTUATION = "’“”–—…‘»«°„§·€£©®™¿¡½¼×№\u00a0•†"
_PUNCTUATION_CJK = "、。「」『』（）！？：；，．“”‘’…—·～〜《》【】〈〉\u3000○●◎※→ー０-９Ａ-Ｚａ-ｚ"
# Added to the likelihood of rare encodings: their readings must be better by this much to be chosen.
_HANDICAP = {
    "euc_jp": -1.0,
    "iso8859_15": -2.0,
    "iso8859_2": -1.0,
    "mac_roman": -8.0,
    "cp850": -6.0,
    "koi8_u": -1.0,
    "cp866": -3.0,
    "iso8859_4": -6.0,
    "iso8859_5": -5.0,
    "mac_cyrillic": -8.0,
    "iso8859_7": -2.0,
}
# Larger codecs of the same encoding, tried if the first one does not decode the text.
_SUPERSETS = {
    "shift_jis": ("cp932",),
    "big5": ("cp950", "big5hkscs"),
    "cp874": ("iso8859_11",),
    "cp1255": ("iso8859_8",),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """A sample as text under one encoding, judged by one language.

    `likelihood` is a natural logarithm. `mean` is that of the characters outside ASCII, per character, without the
    script's rate.
    """

    encoding: str
    script: Script
    text: str = field(repr=False)
    likelihood: float
    mean: float
    odd: int
    """The number of characters that the language does not use, or not in such a place."""
    foreign: int
    """The number of characters outside ASCII."""
    enough: bool
    """Whether it has enough letters to be chosen. With fewer it can only cast doubt on other readings."""

    @property
    def single_byte(self) -> bool:
        """Whether each byte is one character, so that nearly any bytes decode."""
        return not _is_ideographic(self.script)


def most_likely(data: bytes, *, declared: str = "") -> Reading | None:
    """The best reading of text that is not UTF-8; None if it cannot be decided. `declared` gets an advantage."""
    for size in _LOOKS:
        sample = _sample(data, size)
        reading = _decided(sample, declared)
        different = _distinct(sample)
        if reading is not None and different != sample and not _decides(different, reading, declared):
            reading = None
        if reading is not None or len(data) <= size:
            break
    return reading


def _decides(sample: bytes, expected: Reading, declared: str) -> bool:
    """Whether a sample shows the expected encoding, or one in which its text is the same."""
    reading = _decided(sample, declared)
    return reading is not None and reading.text == _decoded(sample, expected.encoding)


def _decided(sample: bytes, declared: str) -> Reading | None:
    readings = sorted(_readings(sample, declared), key=lambda reading: -reading.likelihood)
    if not readings or not _is_likely(readings[0]):
        return None
    best = readings[0]
    others = [reading for reading in readings if reading.text != best.text]
    other = max(others, key=lambda reading: reading.likelihood - _HANDICAP.get(reading.encoding, 0.0), default=None)
    # The handicap makes a rare encoding harder to choose. It must not hide the doubt that such a reading casts.
    certain = other is None or best.likelihood - other.likelihood + _HANDICAP.get(other.encoding, 0.0) >= _MARGIN
    return best if certain else None


def _is_likely(reading: Reading) -> bool:
    """Whether a reading is plausible as a text in its language."""
    return reading.enough and reading.mean >= _floor(reading.script) and reading.odd <= _ODD_SHARE * reading.foreign


def _floor(script: Script) -> float:
    if _is_ideographic(script):
        return _FLOOR_IDEOGRAPHS
    return _FLOOR_LATIN if script.rate < 1.0 else _FLOOR_ALPHABET


def _readings(sample: bytes, declared: str) -> Iterator[Reading]:
    texts: dict[str, tuple[str, Counter[str], Counter[str], Context] | None] = {}
    for script in SCRIPTS:
        for encoding in script.encodings:
            if encoding not in texts:
                text = _decoded(sample, encoding)
                texts[encoding] = (
                    (text, Counter(text), Counter(_WORD.findall(text.lower())), _context(text))
                    if text is not None
                    else None
                )
            found = texts[encoding]
            if found is not None:
                reading = _reading(encoding, script, *found)
                if reading is not None:
                    if encoding == declared:
                        reading = replace(reading, likelihood=reading.likelihood + _DECLARED)
                    yield reading


def _reading(
    encoding: str, script: Script, text: str, counts: Counter[str], words: Counter[str], context: Context
) -> Reading | None:
    """The reading of a text under an encoding and a script; None if it has no letter of the script."""
    probabilities, ascii_letter = _probabilities(script)
    ascii_part, foreign_part = 0.0, context.likelihood
    foreign, letters, odd, latin = 0, 0, context.odd, 0
    for character, count in counts.items():
        if character > "\x7f":
            foreign += count
            known = probabilities.get(character)
            if known is None:
                known = _rest(script, character)
                odd += count if known <= _UNEXPECTED else 0
            letters += known > _FOREIGN and character not in _MARKS
            foreign_part += count * known
        elif character.isalpha():
            latin += count
            ascii_part += count * ascii_letter
    if script.rate < 1.0:
        # Texts in the Latin alphabet are mostly ASCII. Outside ASCII they often have punctuation only.
        enough = latin >= _ENOUGH_LETTERS
    else:
        enough = letters >= (_ENOUGH_IDEOGRAPHS if _is_ideographic(script) else _ENOUGH_LETTERS)
    if not foreign or (script.rate == 1.0 and not letters):
        return None
    known_words = sum(count for word, count in words.items() if word in script.words)
    rare_letters = sum(counts[letter] for letter in script.rare)
    ascii_part -= _RARE_WEIGHT * min(rare_letters, _WORDS)
    likelihood = ascii_part + foreign_part + _WORD_WEIGHT * min(known_words, _WORDS) + _HANDICAP.get(encoding, 0.0)
    mean = foreign_part / foreign - math.log(script.rate)
    return Reading(encoding, script, text, likelihood, mean, odd, foreign, enough)


def codecs_of(encoding: str) -> tuple[str, ...]:
    """An encoding and its supersets that files of the same name use."""
    return encoding, *_SUPERSETS.get(encoding, ())


def _decoded(data: bytes, encoding: str) -> str | None:
    for codec in codecs_of(encoding):
        try:
            return data.decode(codec)
        except UnicodeDecodeError:
            continue
    return None


def odd_places(text: str, script: Script) -> list[int]:
    """Positions of characters that a language does not use, or not in such a place, in order."""
    strangers = [c for c in set(text) if c > "\x7f" and _is_stranger(script, c)]
    places = []
    if strangers:
        places += [found.start() for found in regex.finditer(f"[{regex.escape(''.join(strangers))}]", text)]
    if not _is_ideographic(script) and not text.isascii():
        places += [found.start() for found in _ODD_PLACE.finditer(text)]
    return sorted(places)


def unlikely_place(text: str, script: Script) -> int | None:
    """The beginning of the first passage that is unlikely in the language; None if there is none.

    Such a passage has letters of the language, but hardly in the language's frequencies.
    """
    if script.rate < 1.0:
        # A passage in the Latin alphabet has too few characters outside ASCII to judge it.
        return None
    probabilities, _ = _probabilities(script)
    floor = _PASSAGE_IDEOGRAPHS if _is_ideographic(script) else _PASSAGE_ALPHABET
    table = {c: 0.0 if c <= "\x7f" else _of_small(c, script, probabilities) for c in set(text)}
    for start in range(0, len(text), _PASSAGE):
        passage = text[start : start + _PASSAGE]
        foreign = len(passage) - len(passage.encode("ascii", "ignore"))
        if foreign >= _PASSAGE_LETTERS and sum(map(table.__getitem__, passage)) < floor * foreign:
            return start
    return None


def _of_small(character: str, script: Script, probabilities: dict[str, float]) -> float:
    """The logarithm of the probability of a letter, or of the small letter of a capital."""
    # One by one: in a text, the small letter of a Greek sigma depends on its place.
    small = character.lower()[0]
    return probabilities[small] if small in probabilities else _rest(script, small)


# A passage of `_PASSAGE` characters is judged if at least `_PASSAGE_LETTERS` of them are outside ASCII. A passage varies
# more than a whole text, hence floors of its own. The mean of a passage in another encoding is -9.4 or less for
# ideographs (measured on Korean, Chinese and Japanese texts, each decoded as the others).
_PASSAGE = 128
_PASSAGE_LETTERS = 48
_PASSAGE_IDEOGRAPHS = -9.25
_PASSAGE_ALPHABET = -5.2


def is_plausible(text: str) -> bool:
    """Whether decoded characters can be a text: all are assigned, and most letters are of one script."""
    if _NO_TEXT.search(text):
        return False
    foreign = [character for character in text if character > "\x7f" and character.isalpha()]
    if not foreign:
        return True
    han = sum("\u3400" <= character <= "\u9fff" for character in foreign)
    if han * 2 > len(foreign):
        return sum(character in _COMMON_HAN for character in foreign) * 3 > len(foreign)
    blocks = Counter(0x30 if "\u3000" <= c <= "\u9fff" else min(ord(c) >> 8, 0xAC) for c in foreign)
    (_, first), *others = blocks.most_common(2)
    return (first + (others[0][1] if others else 0)) * 10 > len(foreign) * 8


_NO_TEXT = regex.compile(r"[\p{Cn}\p{Co}\x01-\x08\x0e-\x1f\x7f-\x9f]")
_COMMON_HAN = frozenset("".join(script.letters for script in SCRIPTS))


_MARKS = frozenset(_PUNCTUATION + _PUNCTUATION_CJK)
_WORD = regex.compile(r"(?<![^\W\d_])[a-z]{2,}(?![^\W\d_])")


@cache
def _probabilities(script: Script) -> tuple[dict[str, float], float]:
    """Logarithms of the probabilities of a script's characters, and of an ASCII letter in it.

    Example for Russian: "о" has log 0.105 = -2.26, "е" log 0.084 = -2.48, "щ" log 0.013 = -4.34.
    """
    ideographic = _is_ideographic(script)
    punctuation = _PUNCTUATION_CJK if ideographic else _PUNCTUATION
    share = 0.1 if ideographic else 0.02
    # `letters` of a Latin script are only those outside ASCII; the share of punctuation does not depend on them.
    share, of_punctuation = (0.0, 0.008) if script.rate < 1.0 else (share, share)
    ranks = [1 / (rank + 2) for rank in range(len(punctuation))]
    found = {mark: math.log(of_punctuation * r / sum(ranks)) for mark, r in zip(punctuation, ranks, strict=True)}
    # A few letters make up most of a text and the others share the rest: 1 / (rank + k) approximates this.
    k = 20 if ideographic else 2 if script.rate < 1.0 else 4
    weights = [1 / (rank + k) for rank in range(len(script.letters))]
    whole = script.rate * (1.0 - script.rest_share - share) / sum(weights)
    for letter, weight in zip(script.letters, weights, strict=True):
        found.setdefault(letter, math.log(weight * whole))
        if letter.upper() != letter and len(letter.upper()) == 1:
            found.setdefault(letter.upper(), math.log(weight * whole) + _CAPITAL)
    if "ı" in script.letters:
        found["İ"] = math.log(script.rate * 0.01)
    return found, math.log(1.0 - script.rate) if script.rate < 1.0 else 0.0


def _rest(script: Script, character: str) -> float:
    """The logarithm of the probability of a character that is not among a script's letters."""
    if _is_stranger(script, character):
        return _UNEXPECTED
    if script.rest and _class_of(script.rest).match(character):
        return math.log(script.rest_share / _REST_SIZES.get(script.name, 60))
    # A second script that the encoding includes: Chinese characters in Korean, Greek in Chinese.
    return _FOREIGN


def _is_stranger(script: Script, character: str) -> bool:
    """Whether texts in the language do not use a character."""
    if character in _probabilities(script)[0]:
        return False
    core = _CORES.get(script.name)
    if core is not None:
        return "\uff61" <= character <= "\uff9f" or not _encodes(character, core)
    return not (script.rest and _class_of(script.rest).match(character))


# The number of characters that share `rest_share` of a script.
_REST_SIZES = {"Korean": 2000, "Japanese": 2500, "Chinese, simplified": 3500, "Chinese, traditional": 5000}
# The encodings that hold the characters in common use. Their supersets hold thousands of rare ones.
_CORES = {
    "Korean": "euc_kr",
    "Japanese": "cp932",
    "Chinese, simplified": "gb2312",
    "Chinese, traditional": "big5",
}


@cache
def _class_of(characters: str) -> regex.Pattern[str]:
    return regex.compile(f"[{characters}]")


def _encodes(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _is_ideographic(script: Script) -> bool:
    return script.name in _CORES


# Signs of a wrong encoding: capitals inside words, letters of two alphabets in a word, symbols in a word.
_RAISED = regex.compile(r"(?V1)\p{Ll}(?=[\p{Lu}--[A-Z]])|[\p{Ll}--[a-z]](?=\p{Lu})")
_FOREIGN_CAPITAL = regex.compile(r"(?V1)[\p{Lu}--[A-Z]]")
_FOREIGN_SMALL = regex.compile(r"(?V1)[\p{Ll}--[a-z]]")
_OTHER = r"[\p{Cyrillic}\p{Greek}\p{Hebrew}\p{Arabic}\p{Thai}]"
_MIXED = regex.compile(rf"(?V1)[a-zA-Zß-ÿ](?={_OTHER})|{_OTHER}(?=[a-zA-Zß-ÿ])")
_SIGNS = r"[[\u0080-\u00bf\u02c0-\u02df\u2010-\u22ff×÷]--[’‘·\u00adªº‐–—\u00a0]]"
_SIGN_IN_WORD = regex.compile(rf"(?V1)(?<=\p{{L}}){_SIGNS}(?=\p{{L}})")
# A single Latin letter that is not a word in any of the languages.
_NO_WORD = regex.compile(r"(?V1)\b[\p{Latin}--[a-zA-ZàáâéèêìíòóôùúåæöøªºÀÁÂÉÈÊÍÓÔÚÅÆÖØ]]\b")
_APOSTROPHE = regex.compile(r"(?<=\p{L})’(?=\p{L})")
_CONTROL = regex.compile(r"[\x80-\x9f]")
_ODD_PLACE = regex.compile(
    "(?V1)" + "|".join(p.pattern.removeprefix("(?V1)") for p in (_RAISED, _MIXED, _SIGN_IN_WORD)) + r"|[\x80-\x9f]"
)
# Letters that end a word, inside one: Hebrew and Greek final forms, and the Arabic teh marbuta and alef maksura.
_NO_END = regex.compile(r"[ךםןףץ](?=[א-ת])|ς(?=[α-ω])|[ةى](?=[ء-ي])")
# Two accents in a word, which is rare in Greek.
_TWO_ACCENTS = regex.compile(r"[άέήίόύώΐΰ][α-ωϊϋ]*+[άέήίόύώΐΰ]")
# A small letter of the Latin alphabet behind a Chinese character, a syllable or a kana. The other order is usual.
_LATIN_END = regex.compile(r"[\u3041-\u30ff\u3400-\u9fff\uac00-\ud7a3](?=[a-z])")
_LETTERS = regex.compile(r"(?V1)[\p{L}--[\p{Latin}\u0e80-\U0010ffff]]+")
_VOWELLESS = regex.compile(
    r"(?V1)\b(?:[\p{Cyrillic}--[аеёиоуыэюяіїєр]]{3,}|[\p{Greek}--[αειουηωάέήίόύώϊϋΐΰ]]{3,})\b", regex.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Context:
    """What the neighbours of characters outside ASCII add to the likelihood of a text (a logarithm)."""

    likelihood: float = 0.0
    odd: int = 0


def _context(text: str) -> Context:
    raised, mixed, signs, controls, ends = (
        len(pattern.findall(text)) for pattern in (_RAISED, _MIXED, _SIGN_IN_WORD, _CONTROL, _NO_END)
    )
    # A text in an alphabet other than the Latin one has whole words of it, so single letters are a bad sign.
    runs = [len(run) for run in _LETTERS.findall(text)]
    lone = runs.count(1)
    lone = lone if lone * 2 > sum(runs) else 0
    lone += len(_VOWELLESS.findall(text)) + len(_NO_WORD.findall(text))
    # More capitals than small letters: a text in capitals, which is rare (-6), but then capitals cost nothing.
    capitals, small = len(_FOREIGN_CAPITAL.findall(text)), len(_FOREIGN_SMALL.findall(text))
    likelihood = -_CAPITAL * capitals - 6.0 if capitals > small else 0.0
    likelihood -= 3.0 * len(_TWO_ACCENTS.findall(text))
    likelihood += 2.0 * min(len(_APOSTROPHE.findall(text)), _WORDS)
    likelihood -= 5.0 * raised + 6.0 * (mixed + ends) + 8.0 * (signs + lone)
    return Context(
        likelihood - 12.0 * controls, raised + mixed + signs + controls + lone + ends + len(_LATIN_END.findall(text))
    )


_FEW_PLACES = 48
_PLACE_BYTES = 96


def _sample(data: bytes, size: int) -> bytes:
    """The parts of a file that show its encoding best: around bytes outside ASCII, and around rare bytes."""
    if len(data) <= size:
        return data
    first = _HIGH.search(data)
    start = first.start() if first else 0
    pieces = []
    for quarter in range(4):
        found = _HIGH.search(data, start + (len(data) - start) * quarter // 4)
        if found is None:
            break
        pieces.append(_between_words(data, found.start(), size // 4))
    sampled = frozenset(b"".join(pieces))
    missing = [place for byte in range(128, 256) if byte not in sampled and (place := data.find(byte)) >= 0]
    pieces += [_between_words(data, place, _PLACE_BYTES) for place in missing[:_FEW_PLACES]]
    return b" ".join(pieces)


def _distinct(sample: bytes) -> bytes:
    """Each word of a sample once, and what is repeated inside a word once.

    A word that is written three times shows no more of its encoding than once: its letters are no independent evidence.
    So a text is read only if its different words decide its encoding too.
    """
    words = _HIGH_WORD.findall(sample)
    if len(set(words)) == len(words) and _REPEATED.search(sample) is None:
        return sample
    different = dict.fromkeys(_SEPARATORS.split(sample))
    return _REPEATED.sub(rb"\1", b" ".join(different))


# No multi-byte character holds such a byte. Of repetitions, only those of pairs keep multi-byte characters whole.
_SEPARATORS = regex.compile(rb"[\x00-\x2f]+")
_HIGH_WORD = regex.compile(rb"[\x30-\x7f]*+[\x80-\xff][^\x00-\x2f]*+")
_REPEATED = regex.compile(rb"((?:[\x80-\xff][^\x00-\x2f]){1,8}?)\1{2,}")


def _between_words(data: bytes, position: int, size: int) -> bytes:
    """About `size` bytes around a position, cut at bytes below 0x30: no multi-byte character holds such a byte."""
    low = max(0, position - size // 2)
    while low < position and low > 0 and data[low - 1] >= 0x30:
        low += 1
    if low == position > 0 and data[low - 1] >= 0x30:
        # There is no such byte near. Take the beginning of the file, where a character certainly begins.
        low = 0
    end = low + size
    while low + size < len(data) and end > low and data[end - 1] >= 0x30:
        end -= 1
    return data[low : end if end > low else low + size]


_HIGH = regex.compile(rb"[\x80-\xff]")
