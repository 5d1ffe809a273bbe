"""Tables of labels as spreadsheets and people write them: read as meant, or refused with file, line and reason."""

import csv
import io
import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osteon.errors import OsteonError
from osteon.films.labels.class_labels import label_of
from osteon.films.labels.label_rows import read_label_table, with_labels
from osteon.films.labels.label_table import column_named, read_table
from osteon.folding import class_word, folded
from osteon.params import ClassNames, Columns, DataParams, load_params
from tests.making import write

NEEDED = ("filename", "fractured")
ROWS = [("001.png", "yes"), ("002.png", "no")]


def cells(path: Path, **known: tuple[str, ...]) -> list[tuple[str, ...]]:
    rows = read_table(path, NEEDED, **known).rows
    return [tuple("" if pd.isna(cell) else str(cell) for cell in row) for row in rows.itertuples(index=False)]


def text(separator: str = ",", end: str = "\n") -> str:
    return end.join(separator.join(row) for row in [NEEDED, *ROWS]) + end


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize(
    ("data", "encoding", "separator"),
    [
        (text().encode(), "utf-8", ","),
        (text(end="\r\n").encode(), "utf-8", ","),
        (text(end="\r").encode(), "utf-8", ","),
        (text(end="\r\n").encode("utf-8-sig"), "utf-8-sig", ","),
        (text(";", "\r\n").encode("utf-8-sig"), "utf-8-sig", ";"),
        (text("\t", "\r\n").encode("utf-16"), "utf-16", "\t"),
        (("\ufeff" + text("\t")).encode("utf-16-be"), "utf-16", "\t"),
        (text("\t").encode("utf-16-le"), "utf-16-le", "\t"),
        (text("\t").encode("utf-16-be"), "utf-16-be", "\t"),
        (text().encode("utf-32"), "utf-32", ","),
        (text("|").encode(), "utf-8", "|"),
        (b"sep=;\r\n" + text(";", "\r\n").encode(), "utf-8", ";"),
        (b"SEP=:\n" + text(":").encode(), "utf-8", ":"),
        (text().rstrip().encode(), "utf-8", ","),
    ],
)
def test_encodings_separators_and_line_ends(tmp_path: Path, data: bytes, encoding: str, separator: str) -> None:
    path = write(tmp_path / "t.csv", data)
    table = read_table(path, NEEDED)
    assert cells(path) == ROWS
    assert (table.encoding, table.separator) == (encoding, separator)


@pytest.mark.parametrize(
    "data",
    [
        "filename,fractured\n\n001.png,yes\n\n,\n002.png,no\n\n",
        "filename;fractured;;;\n001.png;yes;;;\n002.png;no;;;\n",
        " filename , fractured \n  001.png ,yes \n002.png,  no\n",
        '"filename","fractured"\n"001.png","yes"\n"002.png","no"\n',
        '"001" is the first,\n\nfilename,fractured\n001.png,yes\n002.png,no\n',
        "# exported 2024; by hand\nfilename,fractured\n001.png,yes\n002.png,no\n",
        "FileName,FRACTURED\n001.png,yes\n002.png,no\n",
        "\ufeff\ufefffilename,fractured\n001.png,yes\n002.png,no\n".replace("\ufeff", "", 1),
    ],
)
def test_empty_lines_empty_columns_quotes_spaces_titles(tmp_path: Path, data: str) -> None:
    assert cells(write(tmp_path / "t.csv", data.encode())) == ROWS


def test_separators_quotes_and_line_ends_within_quotes(tmp_path: Path) -> None:
    data = 'filename;fractured;comment\n"a;b.png";yes;"two\r\nlines; and ""quotes"""\n002.png;no;"5 cm, 1,5"\n'
    path = write(tmp_path / "t.csv", data.encode())
    assert cells(path) == [("a;b.png", "yes", 'two\r\nlines; and "quotes"'), ("002.png", "no", "5 cm, 1,5")]
    assert list(read_table(path, NEEDED).rows.index) == [2, 4]  # the lines of the file


def test_a_column_has_the_name_that_was_asked_for_and_others_their_own(tmp_path: Path) -> None:
    data = f"{unicodedata.normalize('NFD', 'Datei für')},BRUCH,Patient ID,,Patient ID\nx.png,ja,7,left,8\n"
    rows = read_table(write(tmp_path / "t.csv", data.encode()), ("datei FÜR", "bruch"), ("region",)).rows
    assert list(rows.columns) == ["datei FÜR", "bruch", "Patient ID", "column 4", "Patient ID (2)"]
    assert rows.iloc[0].tolist() == ["x.png", "ja", "7", "left", "8"]
    assert column_named(["Label", "label"], "label") == "label"
    assert column_named(["Label"], "label") == "Label"
    assert column_named(["x"], "label") is None


def test_a_row_may_lack_its_last_columns_but_no_needed_one(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", b"filename,fractured,region\n001.png,yes\n002.png,no,wrist\n")
    assert cells(path) == [("001.png", "yes", ""), ("002.png", "no", "wrist")]


# ---------------------------------------------------------------- code pages


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("cp1254", "ayak bileği"),
        ("cp1254", "Hayır; kırık değil"),
        ("cp1252", "Röntgen"),
        ("cp1252", "não"),
        ("cp1252", "30° – ‘ok’"),
        ("cp1250", "złamanie"),
        ("cp1250", "žlomenina"),
        ("cp1251", "перелом"),
        ("cp1253", "κάταγμα"),
        ("mac_roman", "fracturé"),
        ("latin-1", "sí"),
        ("shift_jis", "骨折 あり"),
    ],
)
def test_letters_of_a_code_page(tmp_path: Path, encoding: str, words: str) -> None:
    data = "filename,fractured,region\n" + "".join(f'{number}.png,yes,"{words}"\n' for number in range(30))
    assert {row[2] for row in cells(write(tmp_path / "t.csv", data.encode(encoding)))} == {words}


@pytest.mark.parametrize("encoding", ["cp1252", "mac_roman", "cp850", "cp437"])
def test_known_words_decide_the_code_page(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "t.csv", "filename,fractured\nRöntgen 1.png,yes\nx/Müller.png,no\n".encode(encoding))
    assert cells(path, known_words=("Röntgen 1.png", "Müller.png")) == [
        ("Röntgen 1.png", "yes"),
        ("x/Müller.png", "no"),
    ]


def test_what_was_found_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "t.csv", "A title\nfilename;fractured;göğüs\na.png;yes;\n".encode("cp1254"))
    with caplog.at_level("INFO"):
        read_table(path, NEEDED)
    assert caplog.messages == [
        f"{path}: cp1254 (a guess: if letters are wrong, save it as UTF-8), separated by semicolon, header in line 2; "
        "1 rows; columns filename, fractured, göğüs"
    ]


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", r"t\.csv: not a table: it is empty; expected a header with filename, fractured"),
        (b"\xef\xbb\xbf \r\n\r\n", "it is empty"),
        (b"PK\x03\x04\x14\x00\x06\x00", r"not a table of text but a workbook \(\.xlsx.*save it as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel .*save it as CSV"),
        (b"<html><table><tr><td>filename", "a page of HTML"),
        (b"PAR1\x15\x04", "a parquet file"),
        (b"\xff\xfef\x00i\x00", "no column filename, fractured; it has fi"),
        (b"\xff\xfef\x00i", "no text in any encoding"),
        (b"img;x\na.png;1\n", "no column filename, fractured; it has img, x$"),
        (b"file_name,Fracture\na.png,1\n", "Perhaps 'file_name' for 'filename', 'Fracture' for 'fractured': rename it"),
        (b"filename,fractured,Fractured,FRACTURED\na.png,1,0,0\n", None),
        (b"filename,Fractured,FRACTURED\na.png,1,0\n", "2 columns are called fractured; rename all but one"),
        (b"filename,fractured,fractured\na.png,1,0\n", "2 columns are called fractured"),
        (
            b"filename,fractured\na.png,yes\nb.png,no,left,5\n",
            r"t\.csv, line 3: 4 values where the header \(line 1\) has 2",
        ),
        (b"filename,fractured\na.png,1,0\n", "line 2: 3 values .* quote a value that holds the separator"),
        (b"sep=;\nx\nfilename;fractured\na.png;yes\nb.png\n", r"line 5: 1 values where the header \(line 3\) has 2"),
        (b'filename,fractured\na.png,yes\n"b.png,no\nc.png,no\n', "line 3: a quote .* is opened and never closed"),
    ],
)
def test_a_table_that_cannot_be_read_says_where_and_why(tmp_path: Path, data: bytes, reason: str | None) -> None:
    path = write(tmp_path / "t.csv", data)
    if reason is None:  # the one that has exactly this name
        assert cells(path)[0][1] == "1"
        return
    with pytest.raises(OsteonError, match=reason) as error:
        read_table(path, NEEDED)
    assert str(error.value).startswith(str(path))


def test_a_quote_that_swallows_a_long_file(tmp_path: Path) -> None:
    rows = b"a.png,yes\n" * 20_000
    with pytest.raises(OsteonError, match="line 3: field larger than field limit"):
        read_table(write(tmp_path / "t.csv", b'filename,fractured\na.png,yes\n"' + rows), NEEDED)
    for header in (b'filename, "fractured\n', b'"' + b"swallowed " * 50 + b'\n", x\n'):
        with pytest.raises(OsteonError, match="no column") as error:
            read_table(write(tmp_path / "t.csv", header + rows[:1000]), NEEDED)
        assert len(str(error.value)) < 400 + len(str(tmp_path))


def test_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(OsteonError, match="no such file; the layout needs it"):
        read_table(tmp_path / "t.csv", NEEDED)
    with pytest.raises(OsteonError, match="cannot be read: Is a directory"):
        read_table(tmp_path, NEEDED)


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("word", "label"),
    [
        *[
            (word, 1)
            for word in ("1", "1.0", "1,0", "01", "1.", "+1", " TRUE ", "True", "YES", "Fractured", "positive")
        ],
        *[(word, 0) for word in ("0", "0.0", "0,00", "FALSE", "no", "Normal", "negative", "NO_FRACTURE")],
        *[(word, 0) for word in ("not-fractured", "Not_Fractured", "Non Fractured", "non__fractured", "nonfractured")],
        *[(word, None) for word in ("-1", "-1.0", "10", "1.5", "1 0", "0-1", "fractured?", "no fractured", "2", "")],
        *[(word, None) for word in ("not fractured bones", "fractured bones", "unknown", "n", None, float("nan"))],
    ],
)
def test_the_default_words(word: object, label: int | None) -> None:
    assert label_of(word, ClassNames()) == label


def test_words_are_compared_folded_and_composed() -> None:
    names = ClassNames(fractured=["Evet", "cassé", "gebrochen-neu", "1,0"], not_fractured=["non", "HAYIR", "Größe"])
    decomposed = unicodedata.normalize("NFD", "CASSÉ")
    words = ("EVET", decomposed, "Gebrochen Neu", "1", "NON", "hayır", "Hayir", "GRÖSSE", "fractured")
    assert [label_of(word, names) for word in words] == [1, 1, 1, 1, 0, 0, 0, 0, None]
    assert folded("İĞNE ışık KIRIK") == folded("iğne IŞIK kırık")
    with pytest.raises(ValueError, match="cannot mean both"):
        ClassNames(fractured=["not fractured"], not_fractured=["Not_Fractured"])
    with pytest.raises(ValueError, match="cannot mean both"):
        ClassNames(fractured=["1"], not_fractured=["1.0"])


def test_words_in_a_file_of_parameters_need_no_quotes(tmp_path: Path) -> None:
    path = write(tmp_path / "p.yaml", b"data: {classes: {fractured: [yes, 1, true], not_fractured: [no, 0.0, false]}}")
    classes = load_params(path).data.classes
    assert [label_of(word, classes) for word in ("YES", "1.0", "TRUE", "No", "0", "False")] == [1, 1, 1, 0, 0, 0]
    with pytest.raises(OsteonError, match=r"data\.classes\.fractured"):
        load_params(write(path, b"data: {classes: {fractured: [[1]]}}"))


@given(st.text(max_size=12))
def test_folding_twice_is_folding_once(word: str) -> None:
    assert folded(folded(word)) == folded(word)
    assert class_word(word) == class_word(folded(word))


# ---------------------------------------------------------------- any table


WORDS = ClassNames(fractured=["Evet", "sí", "1", "да"], not_fractured=["Hayır", "não", "0", "нет"])
NAMES = st.sampled_from(
    ["001", "Röntgen", "kırık ön", "перелом", "año", "a,b", "c;d", "e|f", "IM 1", "Łódź", "骨", 'x"y', "é", "K.A"]
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[bytes, dict[str, int]]:
    """Films with their labels, and a table of them in some encoding, separator, quoting and line end."""
    stems = draw(st.lists(NAMES, min_size=1, max_size=8, unique=True))
    labels = {f"{stem}.png": draw(st.integers(0, 1)) for stem in stems}
    words = {1: draw(st.sampled_from(WORDS.fractured)), 0: draw(st.sampled_from(WORDS.not_fractured))}
    comments = st.sampled_from(["", "plain", "1,5; 2", "two\nlines", 'a "word"', "Größe", "\ttab|pipe", "Evet", "0"])
    header = draw(st.permutations(["filename", "fractured", "comment", ""]))
    out = io.StringIO()
    writer = csv.writer(
        out,
        delimiter=draw(st.sampled_from(",;\t|")),
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])),
        lineterminator=draw(st.sampled_from(["\n", "\r\n", "\r"])),
    )
    writer.writerow(header)
    change = draw(st.sampled_from([str, str.upper, lambda name: name[:-4], lambda name: f"./{name}"]))
    for name, label in labels.items():
        row = {"filename": change(name), "fractured": words[label], "comment": draw(comments), "": ""}
        writer.writerow([row[column] for column in header])
    encodings = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
    pages = ["cp1250", "cp1251", "cp1252", "cp1254", "latin-1", "mac_roman", "cp850", "cp857", "gb18030"]
    encoding = draw(st.sampled_from([*encodings, *pages]))
    return out.getvalue().encode(encoding, errors="replace"), labels


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables())
def test_labels_come_out_as_they_were_or_not_at_all(tmp_path: Path, table: tuple[bytes, dict[str, int]]) -> None:
    data, labels = table
    films = pd.DataFrame({"film_id": list(labels), "path": list(labels), "finding": "fractured"})
    params = DataParams(classes=WORDS)
    path = write(tmp_path / "labels.csv", data)
    try:
        rows = with_labels(films, [read_label_table(path, films, params)], tmp_path, params)
    except OsteonError:
        return
    for film, label, doubt in zip(rows["path"][: len(films)], rows["label"], rows["doubt"], strict=False):
        assert label == labels[film] or (label is None and doubt)


def test_most_tables_are_read(tmp_path: Path) -> None:
    """The property above would hold too if everything were refused."""
    labels = {"Röntgen.png": 1, "kırık ön.png": 0, "a;b.png": 1}
    films = pd.DataFrame({"film_id": list(labels), "path": list(labels), "finding": "fractured"})
    params = DataParams(classes=WORDS, columns=Columns(label="Bruch"))
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1254", "cp857"):
        for separator in ",;\t|":
            rows = [f'"{name}"{separator}{"Evet" if label else "Hayır"}' for name, label in labels.items()]
            data = "\r\n".join([f"filename{separator}BRUCH", *rows])
            path = write(tmp_path / "labels.csv", data.encode(encoding))
            read = with_labels(films, [read_label_table(path, films, params)], tmp_path, params)
            assert read["label"].tolist() == list(labels.values()), (encoding, separator)
