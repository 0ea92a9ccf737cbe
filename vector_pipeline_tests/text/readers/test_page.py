"""Pages as browsers show them. What Chromium's `innerText` returns was compared with each case."""

from __future__ import annotations

import pytest

from vector_pipeline.text.readers.page import Page


@pytest.mark.parametrize(
    ("page", "text"),
    [
        # Children of an invisible element may be visible; those of a hidden one may not.
        ('<p style="visibility:hidden">x <b style="visibility:visible">y</b> <i>z</i></p>', "y"),
        ('<ul style="visibility:collapse"><li>x<li style="visibility:initial">y</ul>', "- y"),
        ('<div style="visibility:hidden"><h2 style="visibility:visible">y</h2>x</div>', "## y"),
        ('<div style="display:none"><p style="display:block;visibility:visible">x</p></div>y', "y"),
        ('<ruby>a<rt style="visibility:hidden">x</rt></ruby><q style="visibility:hidden">x</q>b', "ab"),
        ('<div style="content-visibility:hidden">x<p style="content-visibility:visible">x</p></div>y', "y"),
        ('<table><tr><td style="content-visibility:hidden">x<td>y</table>', "| y"),
        # It has no effect on what is inside a line, nor on a table.
        ('<span style="content-visibility:hidden">y</span>', "y"),
        ('<table style="content-visibility:hidden"><tr style="content-visibility:hidden"><td>y</table>', "| y"),
        ('<div style="content-visibility:auto">y</div>', "y"),
        # A style shows what is hidden by default.
        ('<p hidden style="display:block">y</p><p hidden style="display:unset">z</p>', "y\n\nz"),
        ('<dialog style="display:block">y</dialog><div popover style="display:flex">z</div>', "y\n\nz"),
        ("<div popover open>x</div><dialog popover open>y</dialog>", "y"),
        # The last declaration counts that a browser understands, and an important one before it.
        ('<p style="display:none;display:block">y</p>', "y"),
        ('<p style="display:none!important;display:block">x</p>y', "y"),
        ('<p style="display:none;display:no-such;display:none block">x</p>y', "y"),
        ("""<p style="/*display:none;*/background:url('x;display:none');--a:{display:none}">y</p>""", "y"),
        ('<p style="color:red display:none;x-display:none;--display:none">y</p>', "y"),
        # Invisible for other reasons: a page's search finds it, and often a script shows it.
        ('<p style="opacity:0">a</p><p style="font-size:0">b</p><p style="height:0;overflow:hidden">c', "a\n\nb\n\nc"),
        ("<details><summary>a</summary>b</details><p inert aria-hidden=true>c</p>", "a\nb\n\nc"),
        ("<template>x</template><p hidden=until-found>y</p>", "y"),
        # What a browser adds.
        ("He said <q>yes <q>and</q> no</q>.", 'He said "yes "and" no".'),
        # Digits above or below the line that would make another number of the digits before them.
        ("10<sup>6</sup>, 2019<sup><a href=#n>12</a></sup>, 10<sub>2</sub>", "10⁶, 2019¹², 10₂"),
        ("CO<sub>2</sub>, m<sup>2</sup>, 3<sup>rd</sup>, 5<sup> </sup>6", "CO2, m2, 3rd, 5 6"),
        ("<pre>10<sup>-6</sup></pre>", "```\n10⁻⁶\n```"),
    ],
)  # fmt: skip
def test_a_page_is_what_a_browser_shows(page: str, text: str) -> None:
    assert Page(page).visible_text() == text


def test_the_texts_of_a_drawing_are_read() -> None:
    page = """<p>Before</p><svg><title>x</title><desc>x</desc><metadata>x</metadata><defs><text>x</text></defs>
      <g style="visibility:hidden"><text>x</text><a><text style="visibility:visible">Load <tspan>9</tspan></text></a></g>
      <g><symbol><text>x</text></symbol><g style="display:none"><text>x</text></g>
        <text><tspan x="0" dy="1em">two</tspan><tspan x="0" dy="1em">lines</tspan><title>x</title></text></g>
      <switch><foreignObject><div>Label</div></foreignObject><text>Label for others</text></switch>
      <svg><text>inner</text></svg>x</svg><p>After</p>"""
    assert Page(page).visible_text().split() == "Before Load 9 two lines Label inner After".split()
    assert "two\nlines" in Page(page).visible_text()


def test_what_stands_in_noscript_moves_nothing_into_the_text() -> None:
    page = """<html><head><noscript><img src="x.gif">no script</noscript><title>Tides</title></head>
      <body><noscript><p>no script</p></noscript>High water at seven.</body></html>"""
    assert (Page(page).title, Page(page).visible_text()) == ("Tides", "High water at seven.")
    late = "<svg><title>icon</title></svg><div><title>Late</title></div>text"
    assert (Page(late).title, Page(late).visible_text()) == ("Late", "text")
