"""`yolo data`: a set is fetched from a server on this machine, checked and converted; training fetches nothing."""

from __future__ import annotations

import functools
import http.server
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from scenes import make_set, write_image, write_labels

from ultralytics.cli import main
from ultralytics.data import tools
from ultralytics.utils import SETTINGS
from ultralytics.utils.errors import DataError


class Handler(http.server.SimpleHTTPRequestHandler):
    asked: list[str]

    def log_message(self, *args) -> None:
        self.asked.append(self.path)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves the folder `served`; `server.asked` lists what was asked for."""
    (tmp_path / "served").mkdir()
    monkeypatch.setattr(Handler, "asked", [], raising=False)
    handler = functools.partial(Handler, directory=str(tmp_path / "served"))
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    httpd.asked, httpd.url = Handler.asked, f"http://127.0.0.1:{httpd.server_address[1]}"
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield httpd
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    """The folder for sets, and a working directory beside it."""
    monkeypatch.setattr("ultralytics.utils.SETTINGS", {**SETTINGS, "datasets_dir": str(tmp_path / "datasets")})
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "datasets"


def serve_set(tmp_path, top="mini/", name="mini.zip") -> None:
    """Put a set of four images into an archive of the server."""
    make_set(tmp_path / "made", 4)
    with zipfile.ZipFile(tmp_path / "served" / name, "w") as archive:
        for file in sorted((tmp_path / "made").rglob("*.*")):
            archive.write(file, top + file.relative_to(tmp_path / "made").as_posix())


def describe(download, **changes) -> Path:
    data = {"path": "mini", "train": "images/train", "val": "images/train", "names": ["a", "b"], "download": download}
    Path("mini.yaml").write_text(yaml.safe_dump(data | changes, sort_keys=False), encoding="utf-8")
    return Path("mini.yaml")


def files_in(folder) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


WHOLE = sorted([f"images/train/p{i}.png" for i in range(4)] + [f"labels/train/p{i}.txt" for i in range(4)])


# Download -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["text", "list", "mapping"])
@pytest.mark.parametrize("top", ["mini/", ""])
def test_download(server, datasets, tmp_path, capsys, caplog, monkeypatch, form, top):
    serve_set(tmp_path, top)
    url = f"{server.url}/mini.zip"
    describe({"text": url, "list": [url], "mapping": {url: "."}}[form])
    assert main(["data", "download", "mini"]) == 0
    assert f"Downloading {url} to '{datasets / 'archives' / 'mini' / 'mini.zip'}'" in caplog.text
    assert f"'mini' is in '{datasets / 'mini'}'." in capsys.readouterr().out
    assert files_in(datasets) == [f"mini/{name}" for name in WHOLE]  # the archive is gone
    assert [p.name for p in datasets.iterdir()] == ["mini"]
    assert main(["data", "check", "data=mini.yaml"]) == 0
    assert main(["data", "download", "mini.yaml"]) == 0
    assert len(server.asked) == 1  # what is here is not fetched again


def test_parts_go_into_their_folders_and_archives_may_be_kept(server, datasets, tmp_path):
    serve_set(tmp_path, top="train/")
    describe({f"{server.url}/mini.zip": "images"}, train="images/train/images", val="images/train/images")
    assert main(["data", "download", "mini", "keep=true"]) == 0
    wanted = [f"mini/images/train/{name}" for name in WHOLE]
    assert files_in(datasets) == ["archives/mini/mini.zip", *wanted]


def test_an_archive_put_there_by_hand_is_used_and_kept(datasets, tmp_path, server, capsys):
    url = "http://192.0.2.1/mini.zip"
    describe([url])
    place = datasets / "archives" / "mini" / "mini.zip"
    assert main(["data", "download", "mini"]) == 2
    error = capsys.readouterr().err
    assert "could not be fetched" in error and f"Put it at '{place}' by hand" in error
    serve_set(tmp_path)
    place.write_bytes((tmp_path / "served" / "mini.zip").read_bytes())
    assert main(["data", "download", "mini"]) == 0
    assert place.exists() and files_in(datasets / "mini") == WHOLE


def test_files_that_are_there_are_kept(server, datasets, tmp_path):
    serve_set(tmp_path)
    describe([f"{server.url}/mini.zip"])
    own = datasets / "mini" / "labels" / "train" / "p0.txt"
    own.parent.mkdir(parents=True)
    own.write_text("1 0.5 0.5 0.5 0.5\n")
    assert main(["data", "download", "mini"]) == 0
    assert own.read_text() == "1 0.5 0.5 0.5 0.5\n" and files_in(datasets / "mini") == WHOLE


def test_visdrone_is_converted(server, datasets, tmp_path):
    for split in ("train", "val"):
        with zipfile.ZipFile(tmp_path / "served" / f"{split}.zip", "w") as archive:
            write_image(tmp_path / "p.jpg", np.zeros((100, 200, 3), np.uint8))
            archive.write(tmp_path / "p.jpg", f"VisDrone2019-DET-{split}/images/p.jpg")
            archive.writestr(f"VisDrone2019-DET-{split}/annotations/p.txt", "20,10,40,50,1,4,0,0")
    paths = {split: f"VisDrone2019-DET-{split}/images" for split in ("train", "val")}
    describe([f"{server.url}/{split}.zip" for split in paths], convert="visdrone", **paths)
    assert main(["data", "download", "mini"]) == 0
    label = datasets / "mini" / "VisDrone2019-DET-val" / "labels" / "p.txt"
    assert label.read_text() == "3 0.2 0.35 0.2 0.5\n"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"download": "import os\nos.remove('x')"}, "is a script, and scripts are not run"),
        ({"download": "bash get_it.sh"}, "is a script"),
        ({"download": "file:///etc/passwd"}, "is not an address"),
        ({"download": None}, "has no `download:` line"),
        ({"path": "../../elsewhere"}, "which is not inside of"),
        ({"path": "/elsewhere"}, "which is not inside of"),
        ({"convert": "shell"}, "says `convert: shell`; allowed are voc, visdrone"),
        ({"download": ["http://127.0.0.1/a.zip", "http://127.0.0.1/b/a.zip"]}, "a file name of their own"),
        ({"download": "http://127.0.0.1/"}, "a file name of their own"),
        ({"download": {"http://127.0.0.1/a.zip": "../x"}}, "could not be fetched"),
    ],
)
def test_descriptions_that_are_refused(datasets, capsys, changes, sentence):
    describe(**({"download": "http://127.0.0.1:1/a.zip"} | changes))
    assert main(["data", "download", "mini"]) == 2
    assert sentence in capsys.readouterr().err
    assert not datasets.exists() or files_in(datasets) == []


def test_a_folder_that_leads_out_is_refused(server, datasets, tmp_path, capsys):
    serve_set(tmp_path)
    describe({f"{server.url}/mini.zip": "../x"})
    assert main(["data", "download", "mini"]) == 2
    assert "leads out of the folder" in capsys.readouterr().err
    assert not (datasets / "x").exists()


def test_an_evil_archive_is_refused(server, datasets, tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "served" / "mini.zip", "w") as archive:
        archive.writestr("images/train/a.png", b"x")
        archive.writestr("../../evil.txt", b"x")
    describe([f"{server.url}/mini.zip"])
    assert main(["data", "download", "mini"]) == 2
    assert "leads out of the folder" in capsys.readouterr().err
    assert files_in(datasets) == ["archives/mini/mini.zip"] and not list(tmp_path.rglob("evil.txt"))


def test_an_archive_of_another_set_is_told(server, datasets, tmp_path):
    serve_set(tmp_path, top="mini/other/")
    describe([f"{server.url}/mini.zip"])
    with pytest.raises(DataError, match="still has no images/train"):
        tools.download_dataset("mini.yaml")


def test_imagenet_says_where_it_comes_from(datasets, capsys):
    assert main(["data", "download", "imagenet"]) == 2
    assert "https://www.image-net.org/download.php" in capsys.readouterr().err


@pytest.mark.parametrize("autodownload", [False, True])
def test_training_never_downloads(server, datasets, tmp_path, capsys, autodownload):
    from ultralytics import YOLO
    from ultralytics.data.utils import check_det_dataset
    from ultralytics.utils.errors import MissingFileError

    serve_set(tmp_path)
    file = describe([f"{server.url}/mini.zip"])
    with pytest.raises(MissingFileError, match=r"nothing is downloaded.*`yolo data download .*mini.yaml` fetches them"):
        check_det_dataset(file, autodownload=autodownload)
    with pytest.raises(MissingFileError, match="nothing is downloaded"):
        YOLO("yolo11n.yaml").train(data=str(file), epochs=1, imgsz=32, project=str(tmp_path / "runs"))
    assert server.asked == [] and not datasets.exists() and not (tmp_path / "runs").exists()


def test_training_on_a_known_set_names_the_command(datasets, capsys):
    assert main(["train", "model=yolo11n.yaml", "data=coco8.yaml", "epochs=1", "imgsz=32"]) == 2
    assert "`yolo data download coco8`" in capsys.readouterr().err
    assert list(Path.cwd().iterdir()) == []


# Check ----------------------------------------------------------------------------------------------------------------


def test_check_counts(datasets, tmp_path, capsys):
    make_set(datasets / "mini", 6)
    (datasets / "mini" / "labels" / "train" / "p0.txt").unlink()
    (datasets / "mini" / "labels" / "train" / "p1.txt").write_text("")
    describe(None)
    assert main(["data", "check", "mini.yaml"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "train: 6 images, 6 of them sound objects: 8; backgrounds: 2, 1 of them without a label file" in out
    assert "w x h: 96x96 to 128x128" in out and "class objects images 0 a 4 4 1 b 4 4" in out
    assert "note: 6 of its images are in train too" in out and out.endswith("No faults.")


def test_check_finds_what_a_training_would_leave_out(datasets, capsys):
    images = make_set(datasets / "mini", 8)
    labels = datasets / "mini" / "labels" / "train"
    for i, row in enumerate(["0 0.5 0.5 0.1", "7 0.5 0.5 0.1 0.1", "0 1.5 0.5 0.1 0.1", "0 a 0.5 0.1 0.1"]):
        (labels / f"p{i}.txt").write_text(row)
    (images / "p4.png").write_bytes(b"")
    (images / "p5.png").write_bytes((images / "p5.png").read_bytes()[:60])
    row = (labels / "p6.txt").read_text().splitlines()[0]
    (labels / "p6.txt").write_text(f"{row}\n{row}\n")
    describe(None)
    assert main(["data", "check", "data=mini.yaml"]) == 1
    out = capsys.readouterr().out
    assert "8 images, 2 of them sound" in out and "12 faults." in out  # of train and of val, which are the same
    for kind in ("wrong columns", "wrong class", "out of range", "not a number", "empty image"):
        assert f"1 {kind}" in out
    assert "and 1 more" in out and "1 rows stand twice" in out and "p0.png: wrong columns: line 1" in out


def test_labels_beside_images_and_listed_images(datasets, capsys):
    folder = make_set(datasets / "mini", 4)
    labels = datasets / "mini" / "labels" / "train"
    (labels / "p0.txt").rename(folder / "p0.txt")
    lines = ["./images/train/p1.png"] * 3 + ["./images/train/gone.png"]
    (datasets / "mini" / "list.txt").write_text("\n".join(lines))
    describe(None, val="list.txt")
    assert main(["data", "check", "data=mini.yaml"]) == 1
    train, _, val = capsys.readouterr().out.partition("val: ")
    assert "1 label files lie beside their images and are not read" in train
    assert "note: 2 of these are images that are listed again" in val and "1 missing image" in val and "2 faults" in val


def test_a_set_without_objects_is_at_fault(datasets, capsys):
    make_set(datasets / "mini", 2)
    for label in (datasets / "mini" / "labels" / "train").iterdir():
        label.unlink()
    describe(None)
    assert main(["data", "check", "data=mini.yaml"]) == 1
    assert "no image with an object" in capsys.readouterr().out


def test_an_empty_split_is_at_fault(datasets, capsys):
    make_set(datasets / "mini", 2)
    (datasets / "mini" / "empty").mkdir()
    describe(None, val="empty")
    assert main(["data", "check", "data=mini.yaml"]) == 1
    assert "val: There are no images" in capsys.readouterr().out


def test_check_of_folders_of_classes(datasets, capsys):
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            for i in range(2):
                write_image(datasets / "pets" / split / name / f"{i}.png", np.zeros((20, 30, 3), np.uint8))
    assert main(["data", "check", f"data={datasets / 'pets'}"]) == 0
    assert "0 cat 2 2 1 dog 2 2" in " ".join(capsys.readouterr().out.split())
    write_image(datasets / "pets" / "val" / "cow" / "0.png", np.zeros((20, 30, 3), np.uint8))
    (datasets / "pets" / "train" / "cat" / "1.png").write_bytes(b"no image")
    assert main(["data", "check", f"data={datasets / 'pets'}"]) == 1
    out = capsys.readouterr().out
    assert "unreadable image" in out and "the folder 'cow' is none of the names" in out


def test_check_by_yaml_of_folders_of_classes(datasets, capsys):
    for i, name in enumerate(("n1", "n2")):
        write_image(datasets / "mini" / "train" / name / f"{i}.png", np.zeros((20, 30, 3), np.uint8))
    describe(None, train="train", val="train")  # as ImageNet's, whose folders are not called like its classes
    assert main(["data", "check", "mini"]) == 0
    assert "0 a 1 1 1 b 1 1" in " ".join(capsys.readouterr().out.split())


# Words ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["chek"], "Did you mean 'check'"),
        (["check"], "Which set?"),
        (["check", "dat=x"], "Did you mean 'data'"),
        (["check", "data=coco88.yaml"], "Did you mean"),
        (["download"], "Which set?"),
        (["list", "more"], "takes nothing more"),
        (["convert"], "From which format?"),
        (["convert", "vox"], "Did you mean 'voc'"),
        (["convert", "voc", "source=x"], "needs save_dir=..."),
        (["convert", "masks", "source=x", "save_dir=y"], "needs classes=..."),
        (["convert", "voc", "source=x", "save_dir=y", "nams=z"], "Did you mean 'names'"),
    ],
)
def test_mistakes_are_one_sentence(words, sentence, datasets, capsys):
    assert main(["data", *words]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


def test_help_and_list(capsys):
    assert main(["data"]) == 0 and main(["data", "list"]) == 0
    out = capsys.readouterr().out
    assert "yolo data download NAME" in out and "\ncoco8 " in out and "\nVOC " in out


def test_convert(datasets, tmp_path):
    source = tmp_path / "xml"
    source.mkdir()
    box = "<bndbox><xmin>0</xmin><ymin>0</ymin><xmax>64</xmax><ymax>48</ymax></bndbox>"
    size = "<size><width>640</width><height>480</height></size>"
    (source / "a.xml").write_text(f"<annotation>{size}<object><name>b</name>{box}</object></annotation>")
    (source / "classes.txt").write_text("a\nb\n")
    words = ["data", "convert", "voc", f"source={source}", "save_dir=labels"]
    assert main([*words, "names=[a, b]"]) == 0
    assert Path("labels/a.txt").read_text() == "1 0.05 0.05 0.1 0.1\n"
    assert main([*words, f"names={source / 'classes.txt'}"]) == 2  # they are there
    assert main([*words, f"names={source / 'classes.txt'}", "exist_ok=True"]) == 0
    write_labels(Path("other.txt"), np.array([[0, 0, 64, 48]]), (480, 640), [1])
    np.testing.assert_allclose(np.loadtxt("labels/a.txt"), np.loadtxt("other.txt"))
