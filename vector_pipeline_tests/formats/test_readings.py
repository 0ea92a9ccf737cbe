from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.formats.dialects import of_dochan, of_kreuzberg
from vector_pipeline.formats.lost_lines import with_lost_lines
from vector_pipeline.formats.markdown import plainer

_LINES = st.lists(st.text("abc 12|.-", max_size=30), max_size=12).map("\n".join)


def test_lines_that_only_the_other_reading_has_stand_behind_the_line_before_them() -> None:
    text = "# Ferries\n\nThe ferry leaves at noon.\n\nBring a coat."
    other = (
        "# Ferries\n\n1. The ferry leaves at noon.[^1]\n\nDogs travel free.\n\nBring a coat.\n\n[^1]: Not on Sundays."
    )
    assert with_lost_lines(text, other).replace("\n\n\n", "\n\n").strip() == (
        "# Ferries\n\nThe ferry leaves at noon.\n\nDogs travel free.\n\nBring a coat.\n\n[^1]: Not on Sundays."
    )


def test_a_line_that_is_lost_beside_a_table_stands_behind_the_table() -> None:
    table = "| Place | Euro |\n| --- | --- |\n| The island of cats | 12 |\n| The town of dogs | 7 |"
    found = with_lost_lines(f"{table}\n\nEnd", f"{table}\n\nChildren pay half.\n\nEnd")
    assert found.split("\n\n")[0] == table
    assert "\n\nChildren pay half.\n\n" in found


def test_links_formulas_and_labels_that_are_written_in_another_way_are_not_lost() -> None:
    text = "# Fares of the island\n\nsee [the list](http://a.example/fares)\n\n$$a=b^2$$"
    other = "# 1.2 Fares of the island\n\nsee the list <http://a.example/fares>\n\n$$ a={b}^{2} $$"
    assert with_lost_lines(text, other) == text


@given(_LINES, _LINES)
def test_no_line_of_the_first_reading_is_changed_or_moved(text: str, other: str) -> None:
    left = iter(with_lost_lines(text, other).split("\n"))
    assert all(line in left for line in text.split("\n"))


@given(_LINES)
def test_a_reading_gets_nothing_from_itself(text: str) -> None:
    assert with_lost_lines(text, text) == text


def test_what_dochan_adds_is_removed() -> None:
    stated = "<!-- header: Harbour -->\n\n# Ferries\n\nAuthor: A. Keeper\n\n"
    marked = "[bookmark: Fares] Fares <#Fares> to[comment 1: Why [this]?] pay.\n\n[^comment-1]: Why?\n\n    Say.\n\nEnd"
    assert of_dochan(stated + marked, states_author=True).split("\n\n", 1)[1].split() == ["Fares", "to?]", "pay.", "End"]
    assert plainer(of_dochan("**F****e** ***rr******y***", states_author=False)) == "Fe rry"


def test_a_picture_of_a_slide_is_described_once_and_not_by_its_file_or_shape() -> None:
    found = of_dochan(
        "![The harbour\n\nat noon Picture 4](ppt/media/image1.png)\n\n![moon.jpg 그림 2](ppt/media/image2.png)\n\n"
        "![The harbour at noon Picture 4](image1.png)\n\n![moon.jpg 그림 2](image2.png)",
        states_author=True,
    )
    assert plainer(found).split() == ["The", "harbour", "at", "noon"]


def test_entities_and_scripts_of_kreuzberg_are_resolved_and_formulas_are_not() -> None:
    assert of_kreuzberg("Fares &amp;&#32;times, 1^st^ CO~2~^[^4]^") == "Fares & times, 1st CO2[^4]"
    formula = "$x^2^y~1~$ and `x`\n\n```\na^2^ &amp; b\n```"
    assert of_kreuzberg(formula) == formula
