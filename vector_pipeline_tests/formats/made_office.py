"""Office documents made for the tests: archives of the least XML that programs accept.

A document is a list of blocks: text, a heading (`# Title`), or rows of a table.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

Rows = Sequence[Sequence[str]]
Blocks = Sequence[str | Rows]

_CORE = (
    '<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/">'
    "<dc:title>{}</dc:title><dc:creator>{}</dc:creator><dc:language>en-GB</dc:language>"
    "<dcterms:created>2026-01-02T03:04:05Z</dcterms:created></cp:coreProperties>"
)
_REL = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_TYPES = "application/vnd.openxmlformats-officedocument."


def package(parts: Mapping[str, str | bytes]) -> bytes:
    """A ZIP archive of parts."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            entry = zipfile.ZipInfo(name, (2026, 1, 2, 3, 4, 6))
            # The kind stands in the clear at the beginning of ODF, HWPX and EPUB.
            entry.compress_type = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return out.getvalue()


def _office(
    main: str,
    content_type: str,
    parts: Mapping[str, str | bytes],
    overrides: Mapping[str, str],
    *,
    title: str = "Ferries",
    author: str = "A. Keeper",
) -> bytes:
    types = "".join(f'<Override PartName="/{name}" ContentType="{kind}"/>' for name, kind in overrides.items())
    return package(
        {
            "[Content_Types].xml": (
                '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
                '<Default Extension="xml" ContentType="application/xml"/>'
                '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
                f'<Override PartName="/{main}" ContentType="{content_type}"/>{types}</Types>'
            ),
            "_rels/.rels": relationships({"rId1": ("officeDocument", main)}),
            "docProps/core.xml": _CORE.format(escape(title), escape(author)),
            **parts,
        }
    )


def relationships(targets: Mapping[str, tuple[str, str]]) -> str:
    """The part that says where others are, as (kind, place) by id."""
    inner = "".join(
        f'<Relationship Id="{name}" Type="{_REL}/{kind}" Target="{target}"/>' for name, (kind, target) in targets.items()
    )
    return f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{inner}</Relationships>'


def docx(
    blocks: Blocks,
    *,
    title: str = "Ferries",
    author: str = "A. Keeper",
    extra: Mapping[str, str | bytes] | None = None,
) -> bytes:
    """A document of Word."""
    body = "".join(map(_word_block, blocks))
    main = (
        '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
        f"<w:body>{body}</w:body></w:document>"
    )
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="Heading{n}"><w:name w:val="heading {n}"/>'
        f'<w:pPr><w:outlineLvl w:val="{n - 1}"/></w:pPr></w:style>'
        for n in range(1, 4)
    )
    parts: dict[str, str | bytes] = {
        "word/document.xml": main,
        "word/styles.xml": (
            f'<w:styles xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">{styles}</w:styles>'
        ),
        "word/_rels/document.xml.rels": relationships({"rId1": ("styles", "styles.xml")}),
        **(extra or {}),
    }
    kind = _TYPES + "wordprocessingml."
    overrides = {"word/styles.xml": kind + "styles+xml"}
    return _office("word/document.xml", kind + "document.main+xml", parts, overrides, title=title, author=author)


def _word_block(block: str | Rows) -> str:
    if isinstance(block, str):
        marks = len(block) - len(block.lstrip("#"))
        style = f'<w:pPr><w:pStyle w:val="Heading{marks}"/></w:pPr>' if marks else ""
        return f"<w:p>{style}<w:r><w:t>{escape(block.lstrip('# '))}</w:t></w:r></w:p>"
    cell = "<w:tc><w:tcPr/><w:p><w:r><w:t>{}</w:t></w:r></w:p></w:tc>"
    rows = "".join(f"<w:tr>{''.join(cell.format(escape(text)) for text in row)}</w:tr>" for row in block)
    return f"<w:tbl><w:tblPr/>{rows}</w:tbl>"


def pptx(slides: Sequence[tuple[str, str]]) -> bytes:
    """A presentation: a title and a text for each slide."""
    a = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
    p = 'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"'
    shape = (
        '<p:sp><p:nvSpPr><p:cNvPr id="{n}" name="{kind}"/><p:cNvSpPr/><p:nvPr><p:ph type="{kind}"/></p:nvPr></p:nvSpPr>'
        "<p:spPr/><p:txBody><a:bodyPr/><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp>"
    )
    parts: dict[str, str | bytes] = {}
    overrides = {}
    for number, (title, text) in enumerate(slides, 1):
        shapes = shape.format(n=2, kind="title", text=escape(title)) + shape.format(n=3, kind="body", text=escape(text))
        parts[f"ppt/slides/slide{number}.xml"] = (
            f"<p:sld {a} {p}><p:cSld><p:spTree><p:nvGrpSpPr/><p:grpSpPr/>{shapes}</p:spTree></p:cSld></p:sld>"
        )
        overrides[f"ppt/slides/slide{number}.xml"] = _TYPES + "presentationml.slide+xml"
    ids = "".join(f'<p:sldId id="{255 + n}" r:id="rId{n}"/>' for n in range(1, len(slides) + 1))
    parts["ppt/presentation.xml"] = (
        f'<p:presentation {a} {p} xmlns:r="{_REL}"><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>'
    )
    targets = {f"rId{n}": ("slide", f"slides/slide{n}.xml") for n in range(1, len(slides) + 1)}
    parts["ppt/_rels/presentation.xml.rels"] = relationships(targets)
    return _office("ppt/presentation.xml", _TYPES + "presentationml.presentation.main+xml", parts, overrides)


def xlsx(sheets: Mapping[str, Rows], *, extra: Mapping[str, str | bytes] | None = None) -> bytes:
    """A workbook: rows of text or numbers by the name of their sheet."""
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    parts: dict[str, str | bytes] = {}
    overrides = {}
    for number, rows in enumerate(sheets.values(), 1):
        body = "".join(f'<row r="{n}">{"".join(map(_cell, row))}</row>' for n, row in enumerate(rows, 1))
        parts[f"xl/worksheets/sheet{number}.xml"] = f"<worksheet {main}><sheetData>{body}</sheetData></worksheet>"
        overrides[f"xl/worksheets/sheet{number}.xml"] = _TYPES + "spreadsheetml.worksheet+xml"
    names = "".join(f'<sheet name="{escape(name)}" sheetId="{n}" r:id="rId{n}"/>' for n, name in enumerate(sheets, 1))
    parts["xl/workbook.xml"] = f'<workbook {main} xmlns:r="{_REL}"><sheets>{names}</sheets></workbook>'
    targets = {f"rId{n}": ("worksheet", f"worksheets/sheet{n}.xml") for n in range(1, len(sheets) + 1)}
    parts["xl/_rels/workbook.xml.rels"] = relationships(targets)
    parts.update(extra or {})
    return _office("xl/workbook.xml", _TYPES + "spreadsheetml.sheet.main+xml", parts, overrides)


def _cell(text: str) -> str:
    if text.replace(".", "", 1).isdecimal():
        return f"<c><v>{text}</v></c>"
    return f'<c t="inlineStr"><is><t>{escape(text)}</t></is></c>' if text else "<c/>"


_ODF = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{urn}:1.0"'
    for name, urn in (("office", "office"), ("text", "text"), ("table", "table"), ("draw", "drawing"), ("meta", "meta"))
)
_META = (
    f'<office:document-meta {_ODF} xmlns:dc="http://purl.org/dc/elements/1.1/"><office:meta><dc:title>Ferries</dc:title>'
    "<meta:initial-creator>A. Keeper</meta:initial-creator></office:meta></office:document-meta>"
)


def odt(body: str) -> bytes:
    """A text document around the XML of its body."""
    return _open_document("text", f"<office:text>{body}</office:text>")


def odp(slides: Sequence[str]) -> bytes:
    """A presentation of one text a slide."""
    frame = "<draw:page><draw:frame><draw:text-box><text:p>{}</text:p></draw:text-box></draw:frame></draw:page>"
    pages = "".join(frame.format(escape(text)) for text in slides)
    return _open_document("presentation", f"<office:presentation>{pages}</office:presentation>")


def _open_document(kind: str, body: str) -> bytes:
    body = f"<office:body>{body}</office:body>"
    return package(
        {
            "mimetype": f"application/vnd.oasis.opendocument.{kind}",
            "content.xml": f"<office:document-content {_ODF}>{body}</office:document-content>",
            "meta.xml": _META,
            "META-INF/manifest.xml": "<manifest/>",
        }
    )


_HWPX = " ".join(
    f'xmlns:{name}="http://www.hancom.co.kr/hwpml/2011/{urn}"'
    for name, urn in (("hp", "paragraph"), ("hs", "section"), ("hc", "core"), ("hh", "head"))
)


def hwpx(blocks: Blocks, *, title: str = "Ferries", author: str = "A. Keeper") -> bytes:
    """A document of Hangul."""
    section = "".join(map(_hangul_block, blocks))
    styles = "".join(
        f'<hh:style id="{n}" type="PARA" name="{"바탕글" if n == 0 else f"개요 {n}"}" '
        f'engName="{"Normal" if n == 0 else f"Outline {n}"}" paraPrIDRef="0" charPrIDRef="0"/>'
        for n in range(4)
    )
    opf = 'xmlns:opf="http://www.idpf.org/2007/opf/"'
    items = "".join(
        f'<opf:item id="{name}" href="Contents/{name}.xml" media-type="application/xml"/>'
        for name in ("header", "section0")
    )
    return package(
        {
            "mimetype": "application/hwp+zip",
            "version.xml": '<hv:HCFVersion xmlns:hv="http://www.hancom.co.kr/hwpml/2011/version" major="5" minor="1"/>',
            "META-INF/container.xml": (
                '<ocf:container xmlns:ocf="urn:oasis:names:tc:opendocument:xmlns:container"><ocf:rootfiles>'
                '<ocf:rootfile full-path="Contents/content.hpf" media-type="application/hwpml-package+xml"/>'
                "</ocf:rootfiles></ocf:container>"
            ),
            "Contents/content.hpf": (
                f"<opf:package {opf}><opf:metadata><opf:title>{escape(title)}</opf:title><opf:language>ko</opf:language>"
                f'<opf:meta name="creator" content="text">{escape(author)}</opf:meta></opf:metadata>'
                f"<opf:manifest>{items}</opf:manifest>"
                '<opf:spine><opf:itemref idref="section0"/></opf:spine></opf:package>'
            ),
            "Contents/header.xml": (
                f'<hh:head {_HWPX} version="1.2" secCnt="1"><hh:refList><hh:styles itemCnt="4">{styles}</hh:styles>'
                "</hh:refList></hh:head>"
            ),
            "Contents/section0.xml": f"<hs:sec {_HWPX}>{section}</hs:sec>",
        }
    )


def _hangul_block(block: str | Rows) -> str:
    if isinstance(block, str):
        return _hangul_paragraph(block.lstrip("# "), len(block) - len(block.lstrip("#")))
    rows = "".join(
        "<hp:tr>"
        + "".join(
            f"<hp:tc><hp:subList>{_hangul_paragraph(text, 0)}</hp:subList>"
            f'<hp:cellAddr colAddr="{column}" rowAddr="{row}"/><hp:cellSpan colSpan="1" rowSpan="1"/></hp:tc>'
            for column, text in enumerate(cells)
        )
        + "</hp:tr>"
        for row, cells in enumerate(block)
    )
    table = f'<hp:tbl rowCnt="{len(block)}" colCnt="{len(block[0])}">{rows}</hp:tbl>'
    return f'<hp:p paraPrIDRef="0" styleIDRef="0"><hp:run charPrIDRef="0">{table}</hp:run></hp:p>'


def _hangul_paragraph(text: str, level: int) -> str:
    run = f'<hp:run charPrIDRef="0"><hp:t>{escape(text)}</hp:t></hp:run>'
    return f'<hp:p paraPrIDRef="0" styleIDRef="{level}">{run}</hp:p>'
