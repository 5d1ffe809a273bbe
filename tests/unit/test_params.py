import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osteon.errors import OsteonError
from osteon.params import Params, Section, flatten, layout_names, load_params, one_line, read_one_line


def load(folder: Path, text: str) -> Params:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return load_params(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "training: {batch_sise: 8}",
            r"training\.batch_sise: unknown key \(did you mean batch_size\?\); allowed: network, width, ",
        ),
        ("trainig: {}", r"trainig: unknown key \(did you mean training\?\); allowed: data, phantoms, "),
        ("training: {epochs: 0}", r"training\.epochs = 0: input should be greater than or equal to 1"),
        ("training: {epochs: '3'}", r"training\.epochs = '3': input should be a valid integer"),
        ("training: {epochs: 3.0}", r"training\.epochs = 3\.0: input should be a valid integer"),
        ("preparation: {image_size: 100}", r"preparation\.image_size = 100: input should be a multiple of 32"),
        ("data: {layout: fracatlass}", r"data\.layout = 'fracatlass': must be one of annotations, coco, dicom, "),
        ("data: {classes: {fractured: [A], not_fractured: [a]}}", r"\['a'\] cannot mean both"),
        ("data: {classes: {broken: [A]}}", r"data\.classes\.broken: unknown key; allowed: fractured, not_fractured"),
        ("training: {precision: float8}", r"training\.precision = 'float8': input should be 'auto', 'float32', "),
        ("training: {validation_fold: 0}", r"training\.validation_fold: unknown key; allowed: network, "),
        ("training: {network: resnet}", r"training\.network = 'resnet': input should be 'compact', 'plain', "),
        ("training: {stopping_share: 0.5}", r"training\.stopping_share = 0\.5: input should be less than 0\.5"),
        (
            "training: {frozen_stages: 2}",
            r"training.*: frozen_stages keeps what starting weights know; set weights too",
        ),
        ("training: {frozen_statistics: true}", r"training.*: frozen_statistics keeps what starting weights know"),
        (
            "training: {frozen_stages: 6, weights: imagenet}",
            r"training\.frozen_stages = 6: input should be less than or",
        ),
        ("training: {layer_decay: 0}", r"training\.layer_decay = 0: input should be greater than 0"),
        ("classical: {svm: {C: 1.0}}", r"classical\.svm\.C: unknown key; allowed: c, gamma"),
        ("cross_validation: {models: [svn]}", r"cross_validation\.models\.0 = 'svn': input should be 'svm', "),
        ("certainty: {sensitivity: 1.0}", r"certainty\.sensitivity = 1\.0: input should be less than 1"),
        ("certainty: {confidence: 0.5}", r"certainty\.confidence = 0\.5: input should be greater than 0\.5"),
        ("phantoms: {fractured: .nan}", r"phantoms\.fractured = nan: "),
        ("training: {epochs: 3, epochs: 4}", r"params\.yaml, line 1: not valid YAML: .*duplicate key"),
        ("a: [", r"params\.yaml, line \d: not valid YAML"),
        ("- 1", r"must hold sections"),
    ],
)
def test_a_bad_file_is_refused_with_its_name_the_key_and_what_is_allowed(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(OsteonError, match=message) as caught:
        load(tmp_path, text)
    assert str(tmp_path / "params.yaml") in str(caught.value)


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(OsteonError) as caught:
        load(tmp_path, "training: {epochs: 0, batch_size: 3}\nevaluation: {resamples: 1}")
    assert len(str(caught.value).splitlines()) == 3


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(OsteonError, match=r"nowhere\.yaml: no such file; run in the project's folder or name it"):
        load_params(tmp_path / "nowhere.yaml")


def test_exponents_are_numbers_as_in_dvc(tmp_path: Path) -> None:
    # YAML 1.1 readers take 1e-3 for text.
    assert load(tmp_path, "training: {learning_rate: 1e-3}").training.learning_rate == 0.001


def test_an_empty_section_has_its_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "training: {}") == Params()


def test_parameters_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Params().training.epochs = 3  # type: ignore[misc]


def test_the_schema_refuses_what_the_types_refuse() -> None:
    schema = Params.model_json_schema()
    assert schema["additionalProperties"] is False
    epochs = schema["$defs"]["TrainingParams"]["properties"]["epochs"]
    assert (epochs["minimum"], epochs["maximum"]) == (1, 10_000)
    json.dumps(schema)


def test_flatten_names_nested_keys() -> None:
    flat = flatten(Params())
    assert flat["data.columns.film"] == "filename"
    assert flat["training.epochs"] == Params().training.epochs
    assert flat["classical.svm.c"] == Params().classical.svm.c
    assert not any(isinstance(value, Section) for value in flat.values())


def test_layouts_are_the_files_of_their_folder() -> None:
    own = "annotations coco dicom folders fracatlas grazpedwri manifest mura voc yolo"
    assert layout_names() == tuple(own.split())


def test_every_number_has_a_bound_and_every_key_without_an_obvious_name_a_description() -> None:
    text = Path("osteon/params.py").read_text(encoding="utf-8")
    bare = re.findall(r"^    (\w+): (?:int|float) =", text, flags=re.MULTILINE)
    assert bare == []


# ---------------------------------------------------------------- as one line

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
QUOTES = st.text(alphabet="\"'\\{}: \n", max_size=6)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(QUOTES, st.recursive(SCALARS | QUOTES, st.lists) | st.dictionaries(QUOTES, QUOTES)))
def test_one_line_is_read_as_what_was_written(content: dict[str, object]) -> None:
    line = one_line(content)
    assert "\n" not in line
    assert repr(read_one_line(line, "params")) == repr(content)  # 2 is not 2.0, and the order is the same
    assert read_one_line(json.dumps(content), "params") == content


def test_parameters_as_one_line_need_no_quotation_mark() -> None:
    line = one_line(Params().model_dump(mode="json"))
    assert line.count('"') == 0
    assert Params.model_validate(read_one_line(line, "params")) == Params()


@pytest.mark.parametrize(("text", "said"), [("{'a':", "params: no JSON"), ("[]", "params: must hold keys")])
def test_a_line_that_is_none_is_named(text: str, said: str) -> None:
    with pytest.raises(OsteonError, match=said):
        read_one_line(text, "params")
