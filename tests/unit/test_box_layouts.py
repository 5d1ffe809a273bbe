"""Layouts with boxes: YOLO, COCO, Pascal VOC and GRAZPEDWRI-DX, as the tools write them."""

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from osteon.errors import OsteonError
from osteon.films.boxes.coco_json import read_coco
from osteon.films.boxes.film_size import FilmSize, boxes_as_shown
from osteon.films.identity import keyed_hash
from osteon.films.layouts import read_layout
from osteon.films.manifest import text_to_boxes
from osteon.params import ClassNames, DataParams
from tests.making import encoded, ramp, write

KEY = b"a key of the tests, 32 bytes long"
FILM = encoded(ramp(80, 100), "PNG")  # 100 wide, 80 high


def films_of(root: Path, layout: str, **params: object) -> dict[str, dict[str, object]]:
    rows = read_layout(root, DataParams(root=str(root), layout=layout, **params), KEY)  # type: ignore[arg-type]
    assert rows["film_id"].is_unique
    return {
        str(row["path"]): {key: (None if pd.isna(value) else value) for key, value in row.items()}
        for row in rows.to_dict("records")
    }


def labels(films: dict[str, dict[str, object]]) -> dict[str, object]:
    return {path: row["label"] for path, row in films.items()}


def texts(root: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        write(root / name, content if isinstance(content, bytes) else content.encode())


def on_its_side(orientation: int) -> bytes:
    """A JPEG of 100 × 80 pixels that EXIF turns."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(Image.fromarray(ramp(80, 100)), "JPEG", exif=exif)


# ---------------------------------------------------------------- boxes and EXIF


@pytest.mark.parametrize("orientation", range(5, 9))
def test_a_box_turns_with_its_film(orientation: int) -> None:
    """As Pillow, which shows the film, moves the pixels of the box."""
    from PIL import ImageOps

    pixels = Image.new("L", (100, 80))
    pixels.paste(255, (10, 20, 40, 70))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels.info["exif"] = exif.tobytes()
    shown = ImageOps.exif_transpose(pixels)
    left, top, right, bottom = shown.getbbox() or (0, 0, 0, 0)
    size = FilmSize(100, 80, orientation)
    assert boxes_as_shown([(10, 20, 30, 50)], size, (100, 80)) == [(left, top, right - left, bottom - top)]
    assert size.shown == shown.size == (80, 100)


def test_boxes_of_a_picture_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="measured on a picture of 640 × 640 pixels, the film has 100 × 80"):
        boxes_as_shown([(1, 1, 2, 2)], FilmSize(100, 80), (640, 640))


# ---------------------------------------------------------------- YOLO


def test_yolo_with_images_and_labels(tmp_path: Path) -> None:
    texts(
        tmp_path,
        {
            "images/train/a.png": FILM,
            "images/train/b.png": FILM,
            "images/val/c.png": FILM,
            "images/val/d.png": FILM,
            "labels/train/a.txt": "\ufeff0 0.5 0.5 0.2 0.25\r\n\r\n1 0.1 0.1 0.1 0.1\r\n",
            "labels/train/b.txt": "",
            "labels/val/c.txt": "1 0.5 0.5 0.2 0.2\n",
            "labels/val/lost.txt": "0 0.5 0.5 0.2 0.2\n",
            "data.yaml": "train: images/train\nval: images/val\nnc: 2\nnames: [fracture, metal]\n",
        },
    )
    films = films_of(tmp_path, "yolo")
    assert labels(films) == {
        "images/train/a.png": 1,
        "images/train/b.png": 0,  # an empty text
        "images/val/c.png": 0,  # metal is no fracture
        "images/val/d.png": None,  # no text
        "images/val/lost": 1,  # a text without its film
    }
    assert films["images/train/a.png"]["boxes"] == "[[40.0, 30.0, 20.0, 20.0]]"
    assert films["images/val/c.png"]["boxes"] is None
    assert [films[f"images/{name}"]["given_split"] for name in ("train/a.png", "val/c.png")] == ["train", "val"]
    assert "set data.missing_annotation: negative" in str(films["images/val/d.png"]["doubt"])

    films = films_of(tmp_path, "yolo", missing_annotation="negative", empty_annotation="doubt")
    assert (films["images/val/d.png"]["label"], films["images/train/b.png"]["label"]) == (0, None)
    assert "set data.empty_annotation: negative" in str(films["images/train/b.png"]["doubt"])


def test_yolo_as_roboflow_exports_it(tmp_path: Path) -> None:
    """Its data.yaml says ../train/images, and names can be a mapping."""
    texts(
        tmp_path,
        {
            "set/train/images/a_png.rf.1.png": FILM,
            "set/train/labels/a_png.rf.1.txt": "3 0.5 0.5 0.5 0.5",
            "set/valid/images/b_png.rf.2.png": FILM,
            "set/valid/labels/b_png.rf.2.txt": "",
            "set/README.roboflow.txt": "wrists > 2024",
            "set/data.yaml": "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
            "nc: 2\nnames:\n  3: Fracture\n  5: text\nroboflow: {workspace: x}\n",
        },
    )
    films = films_of(tmp_path, "yolo")
    assert labels(films) == {"set/train/images/a_png.rf.1.png": 1, "set/valid/images/b_png.rf.2.png": 0}
    assert [row["given_split"] for row in films.values()] == ["train", "val"]


@pytest.mark.parametrize(
    ("line", "boxes"),
    [
        ("0 0.1 0.1 0.5 0.2 0.3 0.6", [(10.0, 8.0, 40.0, 40.0)]),  # an outline
        ("0 0.2 0.1 0.4 0.3 0.3 0.5 0.1 0.3", [(10.0, 8.0, 30.0, 32.0)]),  # a turned box
        ("0\t0.5 0.5 1.0 1.0", [(0.0, 0.0, 100.0, 80.0)]),
        ("0 0.995 0.5 0.02 0.5", [(98.5, 20.0, 1.5, 40.0)]),  # half a pixel over the edge
    ],
)
def test_yolo_boxes_outlines_and_turned_boxes(tmp_path: Path, line: str, boxes: list[object]) -> None:
    texts(tmp_path, {"images/a.png": FILM, "labels/a.txt": line, "classes.txt": "fracture\n"})
    assert text_to_boxes(films_of(tmp_path, "yolo")["images/a.png"]["boxes"]) == boxes


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("4 0.5 0.5 0.1 0.1", "a.txt, line 1: there is no class 4; there are 1"),
        ("0 0.5 0.5 0.1", "a.txt, line 1: 3 values after the class"),
        ("0 0.5 0.5 0.1 0.1 0.87", "a.txt, line 1: 5 values after the class"),
        ("0 50 40 10 10", "a.txt, line 1: values are no shares between 0 and 1"),
        ("0 nan 0.5 0.1 0.1", "a.txt, line 1: values are no shares"),
        ("0 0.5 0.5 0 0.1", "a.txt, line 1: a box without area"),
        ("fracture 0.5 0.5 0.1 0.1", "a.txt, line 1: not a class and numbers"),
    ],
)
def test_yolo_text_without_sense_is_a_doubt(tmp_path: Path, line: str, reason: str) -> None:
    texts(tmp_path, {"images/a.png": FILM, "labels/a.txt": line, "classes.txt": "fracture\n"})
    film = films_of(tmp_path, "yolo")["images/a.png"]
    assert film["label"] is None
    assert reason in str(film["doubt"])


def test_yolo_splits_by_lists_of_films_and_texts_beside_them(tmp_path: Path) -> None:
    """Darknet's way, as CVAT exports it; a film in two lists is in no split."""
    texts(
        tmp_path,
        {
            "obj_train_data/a.png": FILM,
            "obj_train_data/a.txt": "0 0.5 0.5 0.5 0.5",
            "obj_train_data/b.png": FILM,
            "obj_train_data/b.txt": "",
            "obj_train_data/c.png": FILM,
            "obj_train_data/c.txt": "",
            "obj_train_data/notes.txt": "made in May",
            "obj.names": "fracture\n",
            "data.yaml": "path: /content/wrists\ntrain: train.txt\nval: [val.txt]\nnames: {0: fracture}\n",
            "train.txt": "/content/wrists/obj_train_data/a.png\ndata/obj_train_data/b.png\n",
            "val.txt": "./obj_train_data/b.png\nobj_train_data/c.png\n",
        },
    )
    films = films_of(tmp_path, "yolo")
    assert labels(films) == {f"obj_train_data/{name}.png": label for name, label in (("a", 1), ("b", 0), ("c", 0))}
    assert [row["given_split"] for row in films.values()] == ["train", None, "val"]


def test_yolo_key_points_are_left_out(tmp_path: Path) -> None:
    settings = "names: [fracture]\nkpt_shape: [2, 3]\n"
    line = "0 0.5 0.5 0.2 0.5 0.4 0.4 2 0.6 0.6 2"
    texts(tmp_path, {"images/a.png": FILM, "labels/a.txt": line, "data.yaml": settings})
    assert films_of(tmp_path, "yolo")["images/a.png"]["boxes"] == "[[40.0, 20.0, 20.0, 40.0]]"


def test_yolo_boxes_are_of_the_film_as_it_is_shown(tmp_path: Path) -> None:
    texts(tmp_path, {"images/a.jpg": on_its_side(6), "labels/a.txt": "0 0.5 0.5 0.5 0.2", "classes.txt": "fracture"})
    assert films_of(tmp_path, "yolo")["images/a.jpg"]["boxes"] == "[[20.0, 40.0, 40.0, 20.0]]"


def test_two_films_of_one_text_are_both_doubted(tmp_path: Path) -> None:
    line = "0 0.5 0.5 0.5 0.2"
    texts(
        tmp_path,
        {"images/a.jpg": on_its_side(1), "images/a.png": FILM, "labels/a.txt": line, "classes.txt": "fracture"},
    )
    films = films_of(tmp_path, "yolo")
    assert labels(films) == {"images/a.jpg": None, "images/a.png": None}
    assert films["images/a.png"]["doubt"] == "2 films have the text labels/a.txt"


def test_classes_that_are_no_finding_make_no_film_positive(tmp_path: Path) -> None:
    """A class that speaks of a fracture and is in neither list is a doubt, and a set without any finding an error."""
    texts(tmp_path, {"images/a.png": FILM, "labels/a.txt": "0 0.5 0.5 0.5 0.2", "classes.txt": "metal\ntext\n"})
    with pytest.raises(
        OsteonError, match=r"classes\.txt: none of its classes is in data\.classes\.fractured; .*'metal'"
    ):
        films_of(tmp_path, "yolo")
    write(tmp_path / "classes.txt", b"humerus fracture\nfracture\n")
    film = films_of(tmp_path, "yolo")["images/a.png"]
    assert (film["label"], film["doubt"]) == (None, "class 'humerus fracture' is in neither list of data.classes")
    words = ClassNames(fractured=["humerus fracture", "fracture"])
    assert films_of(tmp_path, "yolo", classes=words)["images/a.png"]["label"] == 1


def test_yolo_without_names_and_with_a_wrong_number_of_them(tmp_path: Path) -> None:
    texts(tmp_path, {"images/a.png": FILM, "labels/a.txt": "0 0.5 0.5 0.5 0.2"})
    with pytest.raises(OsteonError, match=r"no data\.yaml with names:"):
        films_of(tmp_path, "yolo")
    write(tmp_path / "data.yaml", b"nc: 2\nnames: [fracture]\n")
    with pytest.raises(OsteonError, match=r"data\.yaml: nc is 2, and names: has 1"):
        films_of(tmp_path, "yolo")


# ---------------------------------------------------------------- COCO


def coco(images: list[dict[str, object]], annotations: list[dict[str, object]], *names: str) -> str:
    categories = [{"id": number, "name": name, "supercategory": "none"} for number, name in enumerate(names)]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


def image(number: int, name: str, width: int = 100, height: int = 80) -> dict[str, object]:
    return {"id": number, "file_name": name, "width": width, "height": height}


def box(number: int, category: int = 1, **other: object) -> dict[str, object]:
    return {"id": number, "image_id": number, "category_id": category, "bbox": [10, 20, 30, 40]} | other


def test_coco_as_roboflow_exports_it(tmp_path: Path) -> None:
    """One JSON a split, films of one name in both; category 0 is what all of them are under."""
    for split in ("train", "valid"):
        for name in "abc":
            write(tmp_path / split / f"{name}.png", FILM)
    write(tmp_path / "README.roboflow.txt", b"")
    entries = [image(1, "a.png"), image(2, "b.png"), image(3, "gone.png")]
    write(tmp_path / "train/_annotations.coco.json", coco(entries, [box(1), box(3)], "bones", "fracture").encode())
    write(tmp_path / "valid/_annotations.coco.json", coco(entries[:2], [box(2)], "bones", "fracture").encode())
    films = films_of(tmp_path, "coco")
    assert labels(films) == {
        "train/a.png": 1,
        "train/b.png": 0,
        "train/c.png": None,
        "train/gone.png": 1,  # listed, and not there
        "valid/a.png": 0,
        "valid/b.png": 1,
        "valid/c.png": None,
    }
    assert films["train/a.png"]["boxes"] == "[[10.0, 20.0, 30.0, 40.0]]"
    assert {row["given_split"] for path, row in films.items() if path.startswith("valid")} == {"val"}
    assert "no annotation names it" in str(films["valid/c.png"]["doubt"])


@pytest.mark.parametrize(
    ("place", "name", "film"),
    [
        ("annotations/instances_default.json", "a.png", "images/a.png"),  # CVAT
        (
            "annotations/instances_default.json",
            "wrists/a.png",
            "images/default/wrists/a.png",
        ),  # CVAT, a task with folders
        ("result.json", "images\\1/90fbb0c7-a.jpg", "images/90fbb0c7-a.jpg"),  # Label Studio on Windows
        ("result.json", "..\\..\\label-studio\\media\\upload\\4\\90fbb0c7-a.png", "images/90fbb0c7-a.png"),
        ("result.json", "/data/local-files/?d=wrists/a%20b.png", "wrists/a b.png"),
        ("result.json", "http://localhost:8080/data/upload/1/90fbb0c7-a.png", "images/90fbb0c7-a.png"),
        ("result.json", "images/90fbb0c7-a.png", "films/a.png"),  # the films as they were before the upload
        ("x.json", "C:\\Users\\x\\films\\A.PNG", "films/a.png"),
        ("x.json", "films/Kırık_1.png", "films/kırık_1.png"),
    ],
)
def test_coco_names_as_tools_write_them(tmp_path: Path, place: str, name: str, film: str) -> None:
    write(tmp_path / film, FILM if film.endswith("png") else on_its_side(1))
    write(tmp_path / place, coco([image(1, name)], [box(1)], "none", "fracture").encode())
    assert labels(films_of(tmp_path, "coco")) == {film: 1}


def test_coco_never_takes_a_film_of_another_folder(tmp_path: Path) -> None:
    for place in ("2023/IM1.png", "2024/IM2.png"):
        write(tmp_path / place, FILM)
    entries = [image(1, "2024/IM1.png"), image(2, "2024/IM2.png")]
    write(tmp_path / "x.json", coco(entries, [box(1)], "none", "fracture").encode())
    assert labels(films_of(tmp_path, "coco")) == {"2023/IM1.png": None, "2024/IM1.png": 1, "2024/IM2.png": 0}


def test_a_coco_name_that_fits_two_films_is_a_doubt_about_both(tmp_path: Path) -> None:
    for place in ("x/a.png", "y/a.png"):
        write(tmp_path / place, FILM)
    write(tmp_path / "z.json", coco([image(1, "a.png")], [box(1)], "none", "fracture").encode())
    films = films_of(tmp_path, "coco")
    assert labels(films) == {"x/a.png": None, "y/a.png": None}
    assert "z.json: 'a.png' may be any of 2 films" in str(films["x/a.png"]["doubt"])


def test_coco_splits_by_the_files_name(tmp_path: Path) -> None:
    texts(tmp_path, {"train2017/a.png": FILM, "val2017/a.png": FILM})
    for split in ("train", "val"):
        content = coco([image(1, "a.png")], [box(1)] if split == "val" else [], "none", "fracture")
        write(tmp_path / f"annotations/instances_{split}2017.json", content.encode())
    films = films_of(tmp_path, "coco")
    # Folders called train2017 say no split by themselves: the name fits both films, and no guess is made.
    assert set(labels(films).values()) == {None}


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"bbox": [], "segmentation": [[10, 20, 40, 20, 40, 60], [5, 30, 8, 30, 8, 33]]}, [5, 20, 35, 40]),
        ({"bbox": [0, 0, 0, 0], "segmentation": [10, 20, 40, 20, 40, 60]}, [10, 20, 30, 40]),
        (
            {"bbox": None, "segmentation": {"size": [80, 100], "counts": [80 * 10 + 20, 3, 77, 3, 7897 - 780]}},
            [10, 20, 2, 3],
        ),
        ({"bbox": None, "segmentation": {"size": [4, 4], "counts": [3, 2, 11]}}, [0, 0, 2, 4]),  # over a column's end
    ],
)
def test_coco_outlines_and_masks_become_boxes(tmp_path: Path, other: dict[str, object], expected: list[float]) -> None:
    write(tmp_path / "x.json", coco([image(1, "a.png")], [box(1, **other)], "none", "fracture").encode())
    content = read_coco(tmp_path / "x.json")
    assert content is not None
    assert content.images[0].faults == []
    assert list(content.images[0].marks[0].box or ()) == expected


def test_coco_packed_masks(tmp_path: Path) -> None:
    """As pycocotools packs a mask of 10 × 10 pixels that covers rows 2 to 4 of columns 3 to 6."""
    mask = {"size": [10, 10], "counts": "P13700000l0"}
    # 32 zeros, then four columns of 3 ones with 7 zeros between, 35 zeros.
    write(
        tmp_path / "x.json",
        coco([image(1, "a.png")], [box(1, bbox=None, segmentation=mask)], "none", "fracture").encode(),
    )
    content = read_coco(tmp_path / "x.json")
    assert content is not None
    assert content.images[0].marks[0].box == (3, 2, 4, 3)


def test_coco_boxes_are_turned_where_they_are_of_the_files_pixels(tmp_path: Path) -> None:
    texts(tmp_path, {"stored.jpg": on_its_side(6), "shown.jpg": on_its_side(6), "other.jpg": on_its_side(6)})
    entries = [image(1, "stored.jpg"), image(2, "shown.jpg", 80, 100), image(3, "other.jpg", 640, 640)]
    write(tmp_path / "x.json", coco(entries, [box(1), box(2), box(3)], "none", "fracture").encode())
    films = films_of(tmp_path, "coco")
    assert films["stored.jpg"]["boxes"] == "[[20.0, 10.0, 40.0, 30.0]]"
    assert films["shown.jpg"]["boxes"] == "[[10.0, 20.0, 30.0, 40.0]]"
    assert films["other.jpg"]["label"] is None
    assert "640 × 640 pixels, the film has 80 × 100" in str(films["other.jpg"]["doubt"])


def test_coco_without_sense_names_the_file(tmp_path: Path) -> None:
    write(tmp_path / "a.png", FILM)
    write(tmp_path / "notes.json", b'{"made": "in May"}')
    with pytest.raises(OsteonError, match="no JSON file with images and categories"):
        films_of(tmp_path, "coco")
    write(tmp_path / "x.json", coco([image(1, "a.png")], [box(2)], "none", "fracture").encode())
    with pytest.raises(OsteonError, match=r"x\.json: not COCO annotations .*image 2, which is not among its images"):
        films_of(tmp_path, "coco")
    write(tmp_path / "x.json", coco([image(1, "a.png")], [box(1, category=7)], "none", "fracture").encode())
    assert "category 7, which has no name" in str(films_of(tmp_path, "coco")["a.png"]["doubt"])
    write(tmp_path / "x.json", b'{"images": [')
    with pytest.raises(OsteonError, match=r"x\.json: not JSON"):
        films_of(tmp_path, "coco")


# ---------------------------------------------------------------- Pascal VOC


def voc(name: str, *objects: tuple[str, str], size: tuple[int, int] = (100, 80)) -> str:
    inside = "".join(f"<object><name>{kind}</name>{place}</object>" for kind, place in objects)
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>1</depth></size>"
    return f"<?xml version='1.0'?><annotation><filename>{name}</filename>{sides}{inside}</annotation>"


CORNERS = "<bndbox><xmin>11</xmin><ymin>21</ymin><xmax>40</xmax><ymax>60.0</ymax></bndbox>"


def test_voc_in_its_own_folders(tmp_path: Path) -> None:
    texts(
        tmp_path,
        {
            "JPEGImages/a.png": FILM,
            "JPEGImages/b.png": FILM,
            "JPEGImages/c.png": FILM,
            "Annotations/a.xml": voc("renamed.png", ("fracture", CORNERS), ("metal", CORNERS)),
            "Annotations/b.xml": voc("b.png"),
            "Annotations/lost.xml": voc("lost.png", ("metal", CORNERS)),
            "ImageSets/Main/train.txt": "a\nb  1\n",
            "ImageSets/Main/trainval.txt": "a\nb\nc\n",
            "ImageSets/Main/val.txt": "c\n",
            "settings.xml": "<project/>",
        },
    )
    films = films_of(tmp_path, "voc")
    assert labels(films) == {
        "Annotations/lost.png": 0,
        "JPEGImages/a.png": 1,
        "JPEGImages/b.png": 0,
        "JPEGImages/c.png": None,
    }
    assert films["JPEGImages/a.png"]["boxes"] == "[[10.0, 20.0, 30.0, 40.0]]"
    assert [films[f"JPEGImages/{name}.png"]["given_split"] for name in "abc"] == ["train", "train", "val"]


def test_voc_beside_its_films_and_by_the_name_inside(tmp_path: Path) -> None:
    texts(
        tmp_path,
        {
            "train/a_jpg.rf.1.png": FILM,
            "train/a_jpg.rf.1.xml": voc("a_jpg.rf.1.png", ("fracture", CORNERS)),
            "valid/b.png": FILM,
            "valid/0001.xml": voc("b.png", ("fracture", CORNERS)),
        },
    )
    films = films_of(tmp_path, "voc")
    assert labels(films) == {"train/a_jpg.rf.1.png": 1, "valid/b.png": 1}
    assert [row["given_split"] for row in films.values()] == ["train", "val"]


def test_voc_turned_boxes_and_boxes_without_sense(tmp_path: Path) -> None:
    turned = "<robndbox><cx>50</cx><cy>40</cy><w>20</w><h>10</h><angle>1.5707963267948966</angle></robndbox>"
    backwards = CORNERS.replace("<xmax>40", "<xmax>4")
    texts(
        tmp_path,
        {
            "a.png": FILM,
            "a.xml": voc("a.png", ("fracture", turned)),
            "b.png": FILM,
            "b.xml": voc("b.png", ("fracture", backwards)),
            "c.jpg": on_its_side(8),
            "c.xml": voc("c.jpg", ("fracture", CORNERS)),
        },
    )
    films = films_of(tmp_path, "voc")
    assert films["a.png"]["boxes"] == "[[45.0, 30.0, 10.0, 20.0]]"
    assert films["b.png"]["doubt"] == "b.xml: a box whose end is before its beginning"
    assert films["c.jpg"]["boxes"] == "[[20.0, 60.0, 40.0, 30.0]]"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_with_entities_is_refused(tmp_path: Path, encoding: str) -> None:
    """Nine lines that would grow to gigabytes, and one that reads a file."""
    bomb = "<!DOCTYPE a [<!ENTITY x 'y'>" + "".join(
        f"<!ENTITY x{n} '{'&x' + (str(n - 1) if n else '') + ';'}{'&x;' * 9}'>" for n in range(9)
    )
    secret = tmp_path / "secret"
    secret.write_text("fracture")
    fetch = (
        f"<!DOCTYPE a [<!ENTITY x SYSTEM 'file://{secret}'>]><annotation><object><name>&x;</name></object></annotation>"
    )
    texts(
        tmp_path,
        {
            "a.png": FILM,
            "a.xml": voc("a.png", ("fracture", CORNERS)),
            "b.png": FILM,
            "b.xml": (bomb + "]><annotation>&x8;</annotation>").encode(encoding),
            "c.png": FILM,
            "c.xml": fetch.encode(encoding),
            "d.png": FILM,
            "d.xml": "<annotation><object>",
        },
    )
    films = films_of(tmp_path, "voc")
    assert labels(films) == {"a.png": 1, "b.png": None, "c.png": None, "d.png": None}
    assert "b.xml cannot be read: it has a document type" in str(films["b.png"]["doubt"])
    assert "c.xml cannot be read: it has a document type" in str(films["c.png"]["doubt"])
    assert "d.xml cannot be read" in str(films["d.png"]["doubt"])


# ---------------------------------------------------------------- GRAZPEDWRI-DX

HEAD = (
    "filestem,patient_id,study_number,timehash,gender,age,laterality,projection,initial_exam,ao_classification,cast,"
    "diagnosis_uncertain,osteopenia,fracture_visible,metal,pixel_spacing,device_manufacturer\n"
)


def test_grazpedwri_as_published(tmp_path: Path) -> None:
    stems = ["0001_1297860395_01_WRI-L1_M014", "0001_1297860435_01_WRI-L2_M014", "0002_0354485735_01_WRI-R1_F012"]
    uncertain, gone = "0002_0354485759_01_WRI-R2_F012", "0003_0662359226_01_WRI-R1_M009"
    rows = [
        f"{stems[0]},1,1,x,M,14.2,L,1,1,23r-M/2.1,,,,1,,0.144,Siemens",
        f"{stems[1]},1,1,x,M,14.2,L,2,1,,,,,,1,0.144,Siemens",
        f"{stems[2]},2,1,x,F,12.1,R,3,1,,1,,,1.0,,0.144,Siemens",
        f"{uncertain},2,1,x,F,12.1,R,2,1,,,1,,1,,0.144,Siemens",
        f"{gone},3,1,x,M,9.0,R,2,1,,,,,,,0.144,Siemens",
    ]
    names = "folder_structure/yolov5/labels/{}.txt", "folder_structure/pascalvoc/{}.xml"
    texts(
        tmp_path,
        {
            "dataset.csv": HEAD + "\n".join(rows),
            f"images_part1/{stems[0]}.png": encoded(ramp(80, 100, 4095), "PNG"),
            f"images_part1/{stems[1]}.png": FILM,
            f"images_part2/{stems[2]}.png": FILM,
            f"images_part4/{uncertain}.png": FILM,
            "images_part4/other.png": FILM,
            names[0].format(stems[0]): "8 0.9 0.1 0.1 0.1\n3 0.5 0.5 0.2 0.5\n",
            names[0].format(stems[1]): "8 0.9 0.1 0.1 0.1\n4 0.5 0.5 0.2 0.5\n",
            names[1].format(stems[2]): voc("x", ("fracture", CORNERS), ("text", CORNERS)),
        },
    )
    films = films_of(tmp_path, "grazpedwri")
    first, second, third = (films[f"images_part{part}/{stem}.png"] for part, stem in zip((1, 1, 2), stems, strict=True))
    assert [row["label"] for row in (first, second, third)] == [1, 0, 1]
    assert [row["view"] for row in (first, second, third)] == ["frontal", "lateral", None]
    assert [row["hardware"] for row in (first, second, third)] == [False, True, False]
    assert [row["boxes"] for row in (first, second, third)] == [
        "[[40.0, 20.0, 20.0, 40.0]]",
        None,
        "[[10.0, 20.0, 30.0, 40.0]]",
    ]
    assert first["region"] == "wrist"
    assert first["patient_id"] == second["patient_id"] == keyed_hash(KEY, "patient", "1")
    assert first["study_id"] == second["study_id"] != third["study_id"]
    assert films[f"images_part4/{uncertain}.png"]["doubt"] == "dataset.csv: diagnosis_uncertain"
    assert films["images_part4/other.png"]["doubt"] == "not in dataset.csv"
    assert films[gone]["label"] == 0


def test_grazpedwri_with_the_columns_that_are_left(tmp_path: Path) -> None:
    """Patients from the file names where the table has none; table and boxes that disagree; a film twice."""
    stems = [f"000{number}_1297860395_01_WRI-L1_M014" for number in range(4)]
    rows = [f"{stems[0]}.png,", f"{stems[1]},1", f"{stems[2]},1", f"{stems[3]},maybe"]
    texts(
        tmp_path,
        {"dataset.csv": "filestem,fracture_visible\n" + "\n".join(rows), f"twice/{stems[2]}.png": FILM}
        | {f"images/{stem}.png": FILM for stem in stems}
        | {f"labels/{stems[0]}.txt": "3 0.5 0.5 0.2 0.5", f"labels/{stems[1]}.txt": "3 0.5 0.5 0.2 0.5"},
    )
    films = films_of(tmp_path, "grazpedwri")
    assert films[f"images/{stems[1]}.png"]["label"] == 1
    assert films[f"images/{stems[1]}.png"]["patient_id"] == keyed_hash(KEY, "patient", "0001")
    assert (
        films[f"images/{stems[0]}.png"]["doubt"]
        == "dataset.csv and the boxes disagree on whether a fracture is visible"
    )
    assert films[f"twice/{stems[2]}.png"]["doubt"] == f"2 films are called {stems[2]}"
    assert films[f"images/{stems[2]}.png"]["label"] is None or films[f"images/{stems[2]}.png"]["doubt"]
    assert "fracture_visible is 'maybe', neither 1 nor empty" in str(films[f"images/{stems[3]}.png"]["doubt"])
