"""Formulas of a page, as a person would type them."""

from __future__ import annotations

import pytest

from vector_pipeline.text.readers.page import Page


def _text(formula: str) -> str:
    return Page(f"<p>A <math>{formula}</math> B").visible_text().removeprefix("A ").removesuffix(" B")


def _x(number: str) -> str:
    return f"<mi>x</mi><mn>{number}</mn>"


_HALF = "<mfrac><mn>1</mn><mn>2</mn></mfrac>"
_SUM = "<mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow>"
_CELLS = "<mtr><mtd><mi>a</mi></mtd><mtd><mi>b</mi></mtd></mtr><mtr><mtd><mi>c</mi></mtd><mtd><mi>d</mi></mtd></mtr>"


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        ("<mfrac><mi>a</mi><mi>b</mi></mfrac>", "a/b"),
        (f"<mfrac>{_SUM}<msup>{_x('2')}</msup></mfrac>", "(a+b)/x^2"),
        (f"<mfrac>{_HALF}<mi>c</mi></mfrac><mi>d</mi>", "(1/2)/c d"),
        (f"<mn>2</mn>{_HALF}<mi>x</mi>", "2 1/2 x"),
        ('<mo>(</mo><mfrac linethickness="0"><mi>n</mi><mi>k</mi></mfrac><mo>)</mo>', "(n¦k)"),
        ("<msup><mn>10</mn><mn>6</mn></msup>", "10^6"),
        (f"<msup><mrow><mo>(</mo>{_SUM}<mo>)</mo></mrow><mrow><mo>−</mo><mn>2</mn></mrow></msup>", "(a+b)^(−2)"),
        (f"<msup><mrow><mo>(</mo>{_SUM}<mo>)</mo><mo>(</mo>{_SUM}<mo>)</mo></mrow><mn>2</mn></msup>", "((a+b)(a+b))^2"),
        (f"<msup><msup>{_x('2')}</msup><msup>{_x('3')}</msup></msup>", "(x^2)^(x^3)"),
        (f"<msup>{_x('2')}</msup><mi>y</mi>", "x^2 y"),
        ("<msub><mi>x</mi><mrow><mi>i</mi><mi>j</mi></mrow></msub>", "x_(ij)"),
        ("<msubsup><mi>x</mi><mn>1</mn><mn>2</mn></msubsup>", "x_1^2"),
        ("<msup><mi>f</mi><mo>′</mo></msup><mo>(</mo><mi>x</mi><mo>)</mo>", "f′(x)"),
        ("<msup><mn>90</mn><mo>∘</mo></msup><mi>C</mi>", "90°C"),
        ("<msqrt><mn>2</mn></msqrt><msqrt><mi>a</mi><mo>+</mo><mi>b</mi></msqrt>", "√2√(a+b)"),
        (f"<mroot><mn>8</mn><mn>3</mn></mroot><mroot>{_SUM}<mi>n</mi></mroot>", "∛8√(n&a+b)"),
        (
            "<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover><mi>i</mi>",
            "∑_(i=1)^n i",
        ),
        ("<munder><mo>lim</mo><mi>x</mi></munder><mi>f</mi>", "lim_x f"),
        ("<mover><mi>x</mi><mo>¯</mo></mover><munder><mi>y</mi><mo>⏟</mo></munder>", "x\u0304y"),
        ("<mi>sin</mi><mo>&#x2061;</mo><mi>x</mi><mn>2</mn><mo>&#x2062;</mo><mn>3</mn>", "sin x2 3"),
        ("<mmultiscripts><mi>C</mi><none/><none/><mprescripts/><mn>6</mn><mn>14</mn></mmultiscripts>", "_6^14 C"),
        (f"<mo>(</mo><mtable>{_CELLS}</mtable><mo>)</mo>", "(a b; c d)"),
        ('<mfenced open="[" close="]" separators=";"><mn>1</mn><mn>2</mn></mfenced>', "[1;2]"),
        ("<mi>x</mi><mtext>&nbsp;if&nbsp;<b>all</b> agree</mtext>", "x if all agree"),
        ("<semantics><mrow><mi>x</mi></mrow><annotation>\\x</annotation></semantics>", "x"),
        ("<maction><mi>x</mi><mi>y</mi></maction>", "x"),
        ("<mphantom><mi>x</mi><mi style='visibility:visible'>y</mi></mphantom><mi>z</mi>", "yz"),
        ("<mfrac><mphantom><mi>a</mi></mphantom><mi>b</mi></mfrac><mi style='display:none'>c</mi>", "b"),
        ("<mn>1</mn> stray <mn>2</mn>", "1 stray 2"),
    ],
)
def test_a_formula_keeps_its_meaning_on_one_line(formula: str, text: str) -> None:
    assert _text(formula) == text


def test_a_formula_of_its_own_line_is_a_line() -> None:
    page = "<p>a<math display='block'><mi>x</mi></math>b <math><mi>y</mi></math> c</p><h2>H <math><mn>1</mn></math></h2>"
    assert Page(page).visible_text() == "a\nx\nb y c\n\n## H 1"


@pytest.mark.parametrize(
    "tag", ["msqrt", "mfrac", "msup", "mrow", "mover", "mmultiscripts", "mtable", "mfenced", "mtext"]
)
def test_formulas_that_nest_deeply_or_lack_parts_keep_their_text(tag: str) -> None:
    for inside in ("", "<mi>x</mi>", "<mi>x</mi>" * 5):
        nested = f"<{tag}>" * 900 + inside + f"</{tag}>" * 900
        assert _text(nested).count("x") == inside.count("x")
