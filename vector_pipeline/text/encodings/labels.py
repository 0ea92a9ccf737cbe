"""The names by which pages and messages declare their encoding, as in browsers.

https://encoding.spec.whatwg.org/#names-and-labels
"""

from __future__ import annotations

# Latin-1 is read as cp1252, as in browsers. Names of Unicode and ASCII are left out, as their bytes show what they are.
_LABELS = {
    label: encoding
    for encoding, labels in {
        "cp949": "euc-kr euc_kr ks_c_5601-1987 ks_c_5601-1989 ks_c_5601 ksc5601 ksc_5601 korean windows-949 "
        "x-windows-949 cp949 ms949 uhc",
        "shift_jis": "shift_jis shift-jis sjis x-sjis windows-31j cp932 ms932 ms_kanji",
        "euc_jp": "euc-jp x-euc-jp x-euc",
        "gb18030": "gb18030 gb2312 gbk gb_2312-80 gb_2312 x-gbk chinese cp936 ms936 windows-936 euc-cn x-euc-cn",
        "big5": "big5 big5-hkscs cn-big5 x-x-big5 cp950 ms950 windows-950",
        "cp1252": "iso-8859-1 iso8859-1 iso_8859-1 latin1 latin-1 l1 windows-1252 cp1252 x-cp1252 ansi",
        "cp1254": "iso-8859-9 iso8859-9 latin5 windows-1254 cp1254 x-cp1254",
        "cp874": "tis-620 windows-874 cp874 dos-874 iso-8859-11",
        "koi8_r": "koi8-r koi8 koi8_r koi",
        "koi8_u": "koi8-u koi8-ru",
        "cp866": "ibm866 cp866 866 csibm866",
        "mac_roman": "macintosh mac x-mac-roman",
        "mac_cyrillic": "x-mac-cyrillic x-mac-ukrainian",
        "iso8859_8": "iso-8859-8 iso8859-8 iso-8859-8-i iso-8859-8-e logical visual hebrew",
        **{f"cp{page}": f"windows-{page} cp{page} x-cp{page}" for page in (1250, 1251, 1253, 1255, 1256, 1257, 1258)},
        **{
            f"iso8859_{part}": f"iso-8859-{part} iso8859-{part} iso_8859-{part}"
            for part in (2, 3, 4, 5, 6, 7, 10, 13, 14, 15, 16)
        },
    }.items()
    for label in labels.split()
}


def encoding_of(label: str) -> str:
    """Python's name of the encoding that a label declares; empty if the label says nothing of use.

    A label never reaches Python's codecs itself: some of those are no encodings of text, such as `zip` and `base64`.
    """
    return _LABELS.get(label.strip(" \t\r\n\f\"'").lower(), "")
