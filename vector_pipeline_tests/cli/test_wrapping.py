"""Lines fit the terminal, whatever their characters take of it, and no character is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from vector_pipeline.cli.wrapping import excerpt, wrap

TEXTS = st.text(st.sampled_from("ab 가나 漢字\u1112\u1161\u11ab"), max_size=200)
WIDTHS = st.integers(10, 40)


@given(TEXTS, WIDTHS)
def test_lines_fit_and_lose_nothing(text: str, width: int) -> None:
    lines = wrap(text, width, "   ", "   ", break_words=True)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@given(TEXTS, WIDTHS)
def test_words_stay_whole_unless_they_may_be_broken(text: str, width: int) -> None:
    lines = wrap(text, width, rest="  ")
    assert [word for line in lines for word in line.split()] == text.split()
    assert all(cell_len(line) <= width or len(line.split()) == 1 for line in lines)


@given(TEXTS, WIDTHS, st.integers(1, 5))
def test_an_excerpt_is_the_beginning_and_says_whether_there_is_more(text: str, width: int, count: int) -> None:
    text = " ".join(text.split())
    lines = excerpt(text, width, "   ", count)
    assert len(lines) <= count
    assert all(cell_len(line) <= width for line in lines)
    shown, all_of_it = "".join("".join(lines).split()), "".join(text.split())
    assert shown == all_of_it or (shown.endswith("…") and all_of_it.startswith(shown[:-1]) and len(shown) > 1)


def test_white_space_inside_a_line_stays() -> None:
    assert wrap("files     15 loaded", 40) == ["files     15 loaded"]
    assert wrap("          rows 0.1 MiB", 40) == ["          rows 0.1 MiB"]
