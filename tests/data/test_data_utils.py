from __future__ import annotations

import pytest
import yaml
from scenes import make_set

from ultralytics.data.lists import find_images
from ultralytics.data.utils import check_det_dataset, img2label_paths
from ultralytics.utils import yaml_load, yaml_save
from ultralytics.utils.errors import ConfigError, DataError, MissingFileError


@pytest.fixture
def root(tmp_path):
    make_set(tmp_path / "set", 2)
    return tmp_path / "set"


def write(root, **content):
    content = {"train": "images/train", "val": "images/train", "names": ["a", "b"]} | content
    yaml_save(root / "data.yaml", {k: v for k, v in content.items() if v is not None})
    return root / "data.yaml"


@pytest.mark.parametrize("path", [None, ".", "", "../set"])
def test_paths_beside_the_yaml_come_first(root, path, tmp_path, monkeypatch):
    make_set(tmp_path / "elsewhere", 1)
    monkeypatch.chdir(tmp_path / "elsewhere")
    data = check_det_dataset(write(root, path=path))
    assert data["train"] == data["val"] == str((root / "images" / "train").resolve())
    assert data["names"] == {0: "a", 1: "b"} and data["nc"] == 2
    assert data["path"] == root.resolve() and data["yaml_file"].endswith("data.yaml")


def test_images_behind_a_link_have_the_labels_beside_the_link(root, tmp_path):
    mine = tmp_path / "mine"
    (mine / "images").mkdir(parents=True)
    try:
        (mine / "images" / "train").symlink_to(root / "images" / "train", target_is_directory=True)
    except OSError:
        pytest.skip("this system lets users make no links")
    images = check_det_dataset(write(mine))["train"]
    assert images == str(mine / "images" / "train")
    assert img2label_paths([f"{images}/a.jpg"]) == [str(mine / "labels" / "train" / "a.txt")]


def test_working_folder_and_datasets_dir_come_next(root, tmp_path, monkeypatch):
    (tmp_path / "yamls").mkdir()
    file = write(tmp_path / "yamls", path="set")
    monkeypatch.chdir(tmp_path)
    assert check_det_dataset(file)["train"] == str((root / "images" / "train").resolve())
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    monkeypatch.setattr("ultralytics.utils.SETTINGS", {"datasets_dir": str(tmp_path)}, raising=False)
    assert check_det_dataset(file)["train"] == str((root / "images" / "train").resolve())


def test_absolute_path_lists_and_text_files(root, tmp_path):
    (root / "list.txt").write_text("./images/train/p0.png\n")
    data = check_det_dataset(write(tmp_path, path=str(root), train=["images/train", "list.txt"], val="list.txt"))
    assert data["train"] == [str(root / "images" / "train"), str(root / "list.txt")]
    assert data["val"] == str(root / "list.txt")


def test_paths_that_count_from_one_folder_deeper(root):
    data = check_det_dataset(write(root, train="../images/train", val="../images/train"))
    assert data["train"] == str((root / "images" / "train").resolve())


def test_names_in_every_form(root):
    assert check_det_dataset(write(root, names={0: "a", 1: "火"}))["names"] == {0: "a", 1: "火"}
    assert check_det_dataset(write(root, names=None, nc=3))["names"] == {0: "class_0", 1: "class_1", 2: "class_2"}
    assert check_det_dataset(write(root, names=["a", "b"], nc=2))["nc"] == 2


AS_WRITTEN = ["01", "no", "on", "12:30", "1e3", "null", "2024-05-01", "0x10", "1_000", "~", "True", "1.50", ".5", "火"]


@pytest.mark.parametrize(
    "form",
    [
        "names: [" + ", ".join(AS_WRITTEN) + "]",
        "names:\n" + "".join(f"- {name}\n" for name in AS_WRITTEN),
        "names:\n" + "".join(f"  {i}: {name}\n" for i, name in enumerate(AS_WRITTEN)),
        "names:\n" + "".join(f"  0{i}: {name}\n" for i, name in enumerate(AS_WRITTEN)),
    ],
)
def test_names_stay_as_they_are_written(root, form):
    (root / "data.yaml").write_text(f"train: images/train\nval: images/train\n{form}", encoding="utf-8")
    names = check_det_dataset(root / "data.yaml")["names"]
    assert list(names.items()) == list(enumerate(AS_WRITTEN))
    yaml_save(root / "again.yaml", {"names": names})
    assert yaml_load(root / "again.yaml")["names"] == names
    assert yaml.safe_load((root / "again.yaml").read_text(encoding="utf-8"))["names"] == names  # so they are quoted


def test_other_values_beside_names_keep_their_types(root):
    (root / "a.yaml").write_text("nc: 2\nnames: {0: a, 1: b}\nflip: no\nlist: [01, no]\ntrain: {names: [no]}\n")
    expected = {"nc": 2, "names": {0: "a", 1: "b"}, "flip": False, "list": [1, False], "train": {"names": [False]}}
    assert yaml_load(root / "a.yaml") == expected


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gbk"])
def test_names_in_other_encodings(root, encoding, caplog):
    file = root / f"{encoding}.yaml"
    file.write_bytes("train: images/train\nval: images/train\nnames: [火, 烟]\n".encode(encoding))
    assert check_det_dataset(file)["names"] == {0: "火", 1: "烟"}
    assert ("was read as GBK" in caplog.text) == (encoding == "gbk")
    file.write_bytes(b"train: images/train\nval: images/train\nnames: ['caf\xe9']\n")
    with pytest.raises(DataError, match=r"is in an unknown encoding: it has a class 'caf\ufffd'\. Save it as UTF-8"):
        check_det_dataset(file)


def test_a_set_for_validation_alone_has_an_empty_train(root):
    data = check_det_dataset(write(root, train=""))
    assert data["train"] is None and data["val"] == str(root / "images" / "train")
    with pytest.raises(MissingFileError, match="The val images"):
        check_det_dataset(write(root, train="", val="nowhere"))


@pytest.mark.parametrize("name", ["a [1]", "a*b", "q?", "~x", "火 灾", "{x}", "#h", "a: b", "a'b"])
def test_folders_with_names_that_mean_something_elsewhere(tmp_path, name):
    folder = tmp_path / name
    try:
        make_set(folder, 1)
    except OSError:
        pytest.skip("this system does not allow the name")
    for train in ("images/train", "images/train/"):
        data = check_det_dataset(write(folder, path=str(folder), train=train))
        assert find_images(data["train"]) == [str(folder / "images" / "train" / "p0.png")]


def test_tilde_in_a_split(root, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(root))
    monkeypatch.setenv("USERPROFILE", str(root))
    assert check_det_dataset(write(tmp_path, train="~/images/train", val=str(root / "images")))["train"] == str(
        root / "images" / "train"
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"train": None}, r"has no `train:` line"),
        ({"val": None}, r"has no `val:` line"),
        ({"names": None}, "has no `names:`"),
        ({"nc": 3}, "says `nc: 3` but lists 2 names"),
        ({"nc": "two"}, "the number of classes is a whole number"),
        ({"nc": 0}, "at least 1"),
        ({"names": {0: "a", 2: "b"}}, "indices 0 to 1"),
        ({"names": {"x": "a"}}, "not whole numbers"),
        ({"names": {0: "a", 1: "b", "01": "c"}}, "two are the same number"),
        ({"names": {0: "a", 0.5: "b"}}, "not whole numbers"),
        ({"names": {False: "a", True: "b"}}, r"indices \['false', 'true'\] are not whole numbers"),
        ({"names": []}, "wanted is a list of names"),
        ({"names": "fire"}, "wanted is a list of names"),
    ],
)
def test_faults_of_the_yaml_are_sentences_with_its_name(root, content, sentence):
    file = write(root, **content)
    with pytest.raises(DataError, match=sentence) as error:
        check_det_dataset(file)
    assert "data.yaml" in str(error.value)


def test_missing_images_list_what_was_tried(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = write(root, val="images/val", download="https://example.com/set.zip")
    with pytest.raises(MissingFileError) as error:
        check_det_dataset(file, autodownload=True)
    text = str(error.value)
    assert "The val images" in text and "example.com" in text and "nothing is downloaded" in text
    assert str(root / "images" / "val") in text and str(tmp_path / "images" / "val") in text


def test_missing_test_split_only_warns(root, caplog):
    data = check_det_dataset(write(root, test="images/test"))
    assert data["test"] == str(root / "images" / "test") and "does not exist" in caplog.text


def test_validation_is_another_word_for_val(root):
    assert check_det_dataset(write(root, val=None, validation="images/train"))["val"].endswith("train")


def test_yaml_itself_at_fault(tmp_path):
    with pytest.raises(MissingFileError, match=r"nothing_here\.yaml"):
        check_det_dataset(tmp_path / "nothing_here.yaml")
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    with pytest.raises(ConfigError, match=r"list\.yaml"):
        check_det_dataset(tmp_path / "list.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (dict(val=["images/val", ["images/train"]]), r"says `val: \['images/val', \['images/train'\]\]`"),
        (dict(test={"a": "b"}), "says `test: "),
        (dict(names={None: "fire"}), r"indices \[None\] are not whole numbers"),
        (dict(names={float("inf"): "fire"}), r"indices \[inf\] are not whole numbers"),
    ],
)
def test_what_no_folder_and_no_index_can_be(root, content, message):
    with pytest.raises(DataError, match=message):
        check_det_dataset(write(root, **content))


def test_the_file_is_only_read(root):
    file = write(root)
    before = yaml_load(file)
    check_det_dataset(file)
    assert yaml_load(file) == before


def test_keypoints_pass_through(root):
    data = check_det_dataset(write(root, kpt_shape=[3, 2], flip_idx=[1, 0, 2]))
    assert data["kpt_shape"] == [3, 2] and data["flip_idx"] == [1, 0, 2]
    assert "flip_idx" not in check_det_dataset(write(root, kpt_shape=[3, 3]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (dict(kpt_shape=[3]), r"says `kpt_shape: \[3\]`"),
        (dict(kpt_shape=[3, 4]), r"2 \(x, y\) or 3"),
        (dict(kpt_shape=[0, 3]), "wanted are the number of keypoints"),
        (dict(kpt_shape=[3, 3], flip_idx=[1, 0]), "has 2 entries in `flip_idx` and 3 keypoints"),
        (dict(kpt_shape=[3, 3], flip_idx=[1, 1, 2]), "must name each of the keypoints 0 to 2 once"),
        (dict(flip_idx=[1, 0, 2]), "no `kpt_shape`"),
    ],
)
def test_bad_keypoints_say_what_is_wrong(root, content, message):
    with pytest.raises(DataError, match=message):
        check_det_dataset(write(root, **content))


@pytest.mark.parametrize("key", ["path", "train"])
def test_home_of_an_unknown_user_is_a_name_like_any_other(work_dir, key):
    yaml_save("data.yaml", {"train": "a", "val": "a", "names": ["a"], key: "~nobody-of-that-name"})
    with pytest.raises(MissingFileError):
        check_det_dataset("data.yaml")
