"""What the drawing functions put onto images and into figure files."""

from __future__ import annotations

import sys
import threading

import cv2
import numpy as np
import pytest
import torch

from ultralytics.utils import plotting
from ultralytics.utils.drawing import annotator as annotator_module
from ultralytics.utils.drawing import curves, fonts
from ultralytics.utils.errors import DataError, MissingFileError
from ultralytics.utils.plotting import Annotator, Colors, colors, contrast, imwrite, save_one_box

RED = (0, 0, 255)


def blank(h: int = 240, w: int = 320, value: int = 40) -> np.ndarray:
    return np.full((h, w, 3), value, np.uint8)


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after).any(-1)


@pytest.fixture
def no_fonts(monkeypatch):
    """A system without any font, and an OpenCV that knows ASCII alone."""
    monkeypatch.setattr(fonts, "font_files", lambda: ())
    for module in (annotator_module, fonts):
        monkeypatch.setattr(module, "opencv_draws", str.isascii)
    fonts.find_font.cache_clear()
    fonts._warned.clear()
    yield
    fonts.find_font.cache_clear()
    fonts._warned.clear()


@pytest.fixture
def messages(monkeypatch) -> list[str]:
    """The texts of all warnings."""
    heard: list[str] = []
    monkeypatch.setattr(fonts.LOGGER, "warning", lambda text, *_: heard.append(str(text)))
    return heard


# Colours -----------------------------------------------------------------------------------------------------------
def test_palette_has_twenty_colours_that_differ():
    palette = np.array(Colors().palette, np.uint8)
    assert palette.shape == (20, 3)
    lab = cv2.cvtColor(palette[None], cv2.COLOR_RGB2LAB)[0].astype(float)
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1e9 * np.eye(20)
    assert distance.min() > 18


def test_colours_repeat_and_turn_to_bgr():
    assert colors(21) == colors(1)
    assert colors(3, bgr=True) == colors(3)[::-1]


def test_text_stands_out_from_its_ground():
    assert contrast((255, 255, 255)) == (0, 0, 0)
    assert contrast((0, 0, 0)) == (255, 255, 255)


# Annotator ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("pil", [False, True])
def test_box_label_draws_edges_and_a_filled_label(pil):
    annotator = Annotator(blank(), line_width=2, font_size=20, pil=pil)
    annotator.box_label((60, 80, 200, 180), "fire 0.91", RED)
    im = annotator.result()
    for x, y in ((60, 130), (200, 130), (130, 80), (130, 180)):
        assert tuple(im[y, x]) == RED
    assert tuple(im[130, 130]) == (40, 40, 40), "the inside of the box stays free"
    label = im[56:79, 60:130]
    assert (label == RED).all(-1).mean() > 0.4, "the label has a filled ground"
    assert (label > 200).all(-1).sum() > 20, "and white letters"


@pytest.mark.parametrize("pil", [False, True])
@pytest.mark.parametrize("box", [(-20, -20, 50, 60), (280, 5, 340, 90), (300, 200, 330, 260), (0, 0, 319, 239)])
def test_labels_stay_inside_the_image(box, pil):
    wide = Annotator(blank(240, 1000), line_width=2, font_size=14, pil=pil)
    wide.box_label((400, 100, 420, 120), "lamp post 0.50", RED)
    full = (wide.result() == (255, 255, 255)).all(-1).sum()
    annotator = Annotator(blank(), line_width=2, font_size=14, pil=pil)
    annotator.box_label(box, "lamp post 0.50", RED)
    drawn = (annotator.result() == (255, 255, 255)).all(-1).sum()
    assert drawn == full, "every letter is on the image"


def test_no_line_runs_through_a_label():
    alone, both = Annotator(blank(), line_width=2), Annotator(blank(), line_width=2)
    alone.box_labels([(60, 80, 200, 180)], ["fire"], [RED])
    both.box_labels([(60, 80, 200, 180), (40, 72, 210, 190)], ["fire", ""], [RED, (0, 255, 0)])
    assert np.array_equal(both.result()[66:70, 59:80], alone.result()[66:70, 59:80])
    letters = (alone.result() == (255, 255, 255)).all(-1)
    assert letters.any() and (both.result()[letters] == 255).all()


def test_a_label_too_long_is_written_smaller():
    annotator = Annotator(blank(100, 120), font_size=20)
    annotator.box_label((10, 50, 60, 90), "a very long class name 0.99", RED)
    text = (annotator.result() == (255, 255, 255)).all(-1)
    columns = np.flatnonzero(text.any(0))
    assert len(columns) and columns.max() < 118


def test_line_width_grows_with_the_image():
    small, large = Annotator(blank(100, 100)), Annotator(blank(2000, 3000))
    assert 1 <= small.lw < large.lw
    assert small.font_size < large.font_size


@pytest.mark.parametrize("shape", [(50, 60), (50, 60, 1), (50, 60, 3), (50, 60, 4)])
def test_grey_and_alpha_images_become_colour(shape):
    annotator = Annotator(np.zeros(shape, np.uint8))
    annotator.box_label((10, 10, 40, 40), color=RED)
    assert annotator.result().shape == (50, 60, 3)
    assert tuple(annotator.result()[10, 25]) == RED


def test_what_is_no_image_is_refused():
    with pytest.raises(DataError, match="float64"):
        Annotator(np.zeros((4, 4, 3)))


def test_annotator_draws_in_place_and_takes_pillow_images():
    from PIL import Image

    im = blank()
    Annotator(im).box_label((10, 10, 50, 50), color=RED)
    assert tuple(im[10, 30]) == RED
    image = Annotator(Image.new("RGB", (64, 48), (255, 0, 0)))
    assert tuple(image.result()[0, 0]) == RED, "BGR within"
    assert image.to_pil().getpixel((0, 0)) == (255, 0, 0)


def test_rotated_box_draws_its_four_sides():
    annotator = Annotator(blank(100, 100, 0), line_width=2)
    annotator.box_label(np.array([[50, 10], [90, 50], [50, 90], [10, 50]]), color=RED, rotated=True)
    im = annotator.result()
    assert im[30, 70, 2] > 150 and im[70, 30, 2] > 150 and im[50, 50, 2] == 0


# Names beyond ASCII ------------------------------------------------------------------------------------------------
def test_chinese_label_draws_glyphs_or_warns_once(messages):
    fonts._warned.clear()
    images = []
    for name in ("火焰", "烟雾"):
        annotator = Annotator(blank(), font_size=24, example=[name])
        annotator.box_label((40, 80, 200, 180), name, RED)
        images.append(annotator.result())
    can = fonts.opencv_draws("火焰烟雾") or fonts.find_font("火焰烟雾") is not None
    if can:
        assert changed(*images).sum() > 50, "different names look different"
        assert not messages
    else:
        assert len(messages) == 1


def test_without_a_font_one_warning_says_what_to_install(no_fonts, messages):
    for _ in range(3):
        annotator = Annotator(blank(), example={0: "火焰"})
        annotator.box_label((40, 80, 200, 180), "火焰 0.9", RED)
    assert len(messages) == 1
    assert "fonts-noto-cjk" in messages[0] and "火" in messages[0]
    assert (annotator.result() == (255, 255, 255)).all(-1).any(), "something is written all the same"


def test_without_a_font_figures_number_the_classes(no_fonts, messages):
    names, font = curves.drawable(["fire", "火焰"])
    assert names == ["fire", "class 1"] and font is None
    assert len(messages) == 1


def test_a_system_font_is_used_by_pillow(monkeypatch, messages):
    """Where OpenCV lacks a script and a font of the system has it, Pillow draws with that font."""
    monkeypatch.setattr(annotator_module, "opencv_draws", str.isascii)
    path = fonts.find_font("é")
    if path is None:
        pytest.skip("this system has no font file at all")
    annotator = Annotator(blank(), example=["é"])
    assert annotator.pil and annotator.font_file == path
    annotator.box_label((40, 80, 200, 180), "été", RED)
    assert (annotator.result()[50:80, 40:120] > 200).all(-1).sum() > 20
    assert not messages


def test_find_font_takes_only_fonts_with_every_character(tmp_path, monkeypatch):
    path = fonts.find_font("é")
    if path is None:
        pytest.skip("this system has no font file at all")
    assert fonts.find_font("é\U000f1234") is None, "a private character is in no font"


def test_a_damaged_font_file_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    monkeypatch.setattr(fonts, "font_folders", lambda: [tmp_path])
    fonts.font_files.cache_clear()
    fonts.find_font.cache_clear()
    try:
        assert [f.name for f in fonts.font_files()] == ["broken.ttf"]
        assert fonts.find_font("火") is None
    finally:
        fonts.font_files.cache_clear()
        fonts.find_font.cache_clear()


# Files -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("given", "written"), [("a.png", "a.png"), ("b", "b.jpg"), ("图 片.heic", "图 片.jpg")])
def test_imwrite_makes_folders_and_falls_back_to_jpg(tmp_path, given, written):
    file = imwrite(tmp_path / "new folder" / given, blank(value=90))
    assert file == tmp_path / "new folder" / written
    read = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR)
    assert abs(int(read[5, 5, 0]) - 90) < 3


def test_imwrite_refuses_an_empty_image(tmp_path):
    with pytest.raises(DataError, match="cannot be written"):
        imwrite(tmp_path / "a.png", np.zeros((0, 5, 3), np.uint8))


def test_save_one_box_cuts_with_margin_and_finds_a_free_name(tmp_path):
    im = blank(100, 100, 0)
    im[40:60, 30:70] = RED
    for _ in range(2):
        crop = save_one_box(torch.tensor([[30.0, 40.0, 70.0, 60.0]]), im, tmp_path / "c.jpg", gain=1, pad=10, BGR=True)
    assert crop.shape == (30, 50, 3)
    assert tuple(crop[15, 25]) == RED
    assert sorted(f.name for f in tmp_path.iterdir()) == ["c.jpg", "c2.jpg"]
    assert cv2.imread(str(tmp_path / "c.jpg"))[15, 25, 2] > 200, "the file has true colours"
    assert tuple(save_one_box([30, 40, 70, 60], im, save=False)[15, 25]) == RED[::-1], "RGB unless BGR is asked for"
    assert save_one_box([30, 40, 70, 60], im, gain=1, pad=0, square=True, save=False).shape == (40, 40, 3)


def test_save_one_box_outside_the_image_saves_nothing(tmp_path):
    crop = save_one_box([200, 200, 220, 220], blank(100, 100), tmp_path / "c.jpg")
    assert crop.size == 0 and not list(tmp_path.iterdir())


# Mosaics -----------------------------------------------------------------------------------------------------------
def test_plot_images_lays_images_out_and_draws_boxes_where_they_are():
    images = torch.zeros(3, 3, 64, 96)
    images[1, 0] = 1  # the second is red
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    canvas = plotting.plot_images(images, torch.tensor([2.0]), torch.tensor([[4.0]]), boxes, names={4: "a"}, save=False)
    assert canvas.shape == (128, 192, 3)
    assert tuple(canvas[32, 96 + 48]) == RED
    assert tuple(canvas[100, 150]) == (255, 255, 255), "an empty place is white"
    assert tuple(canvas[64 + 48, 50]) == colors(4, True), "lower edge of the box in the third image"
    assert (canvas[64:, :96] == colors(4, True)).all(-1).sum() > 100
    assert not (canvas[:64, :96] == colors(4, True)).all(-1).any(), "and none in the first"


def test_pixel_boxes_equal_normalised_ones():
    images = np.zeros((2, 3, 64, 64), np.uint8)
    share = np.array([[0.5, 0.4, 0.25, 0.5], [0.5, 0.5, 1.0, 1.0]])
    draw = [plotting.plot_images(images, [0, 1], [0, 1], b, save=False, names=["a", "b"]) for b in (share, share * 64)]
    assert np.array_equal(*draw) and draw[0].any()


def test_large_images_are_scaled_with_their_boxes():
    images = np.zeros((1, 3, 400, 400))
    canvas = plotting.plot_images(images, [0], [0], [[0.5, 0.5, 0.5, 0.5]], max_size=200, save=False)
    assert canvas.shape == (200, 200, 3)
    assert tuple(canvas[100, 50]) == colors(0, True)


def test_weak_predictions_are_left_out_and_at_most_sixteen_images_shown(tmp_path):
    seen = []
    images = np.zeros((20, 3, 32, 32), np.float32)
    file = tmp_path / "val.jpg"
    paths = [f"folder/{i}.jpg" for i in range(20)]
    plotting.plot_images(images, [0], [0], [[16, 16, 8, 8]], [0.1], (), (), paths, file, {0: "a"}, seen.append)
    assert seen == [file]
    im = cv2.imread(str(file))
    assert im.shape == (128, 128, 3)
    assert np.abs(im[16:24, 10:26].astype(int) - colors(0, True)).sum(-1).min() > 60, "no box drawn"


def test_plot_images_writes_file_names():
    args = (np.zeros((1, 3, 200, 200)), [], [], np.zeros((0, 4)))
    plain = plotting.plot_images(*args, save=False)
    named = plotting.plot_images(*args, paths=["some/where/fire_1.jpg"], save=False)
    where = np.argwhere(changed(plain, named))
    assert len(where) > 100 and where[:, 0].max() < 40


def overlap_masks() -> np.ndarray:
    """Of two images (64, 96), a quarter the size: two objects in the first, one in the second."""
    masks = np.zeros((2, 16, 24), np.uint8)
    masks[0, :8], masks[0, 8:, :12], masks[1, 4:12, 6:18] = 1, 2, 1
    return masks


def test_plot_images_draws_masks_of_images_and_of_objects():
    images, index, cls = np.zeros((2, 3, 64, 96)), [0, 0, 1], [3, 5, 7]
    masks = overlap_masks()
    single = np.stack([masks[0] == 1, masks[0] == 2, masks[1] == 1]).astype(np.float32)
    kinds = [plotting.plot_images(images, index, cls, masks=m, save=False) for m in (masks, single)]
    assert np.array_equal(*kinds)
    first, second = kinds[0][:, :96], kinds[0][:, 96:]
    half = [np.array(colors(c, True)) / 2 for c in cls]
    np.testing.assert_allclose(first[16, 48], half[0], atol=1)
    np.testing.assert_allclose(first[48, 20], half[1], atol=1)
    np.testing.assert_allclose(second[32, 48], half[2], atol=1)
    assert not first[48, 70].any() and not second[56, 48].any()


def test_plot_images_leaves_weak_masks_out():
    images, masks = np.zeros((2, 3, 64, 96)), torch.from_numpy(overlap_masks())
    boxes = [[0.5, 0.25, 0.9, 0.4]] * 3
    canvas = plotting.plot_images(images, [0, 0, 1], [3, 5, 7], boxes, [0.9, 0.1, 0.8], masks=masks, save=False)
    np.testing.assert_allclose(canvas[22, 60], np.array(colors(3, True)) / 2, atol=1)
    assert not canvas[48, 20].any()


def test_plot_images_draws_key_points_in_shares_and_pixels():
    images, kpts = np.zeros((1, 3, 80, 100)), np.array([[[0.2, 0.5, 2], [0.7, 0.5, 2], [0.5, 0.9, 0]]])
    pixels = kpts * (100, 80, 1)
    draw = [plotting.plot_images(images, [0], [0], kpts=k, save=False) for k in (kpts, pixels, torch.tensor(kpts))]
    assert np.array_equal(draw[0], draw[1]) and np.array_equal(draw[0], draw[2])
    assert tuple(draw[0][40, 20]) == colors(0, True) and tuple(draw[0][40, 70]) == colors(1, True)
    assert not draw[0][72, 50].any()


def test_plot_images_draws_rotated_boxes():
    images = np.zeros((1, 3, 100, 100))
    share = np.array([[0.5, 0.5, 0.6, 0.2, np.pi / 2]])
    pixels = share * (100, 100, 100, 100, 1)
    draw = [plotting.plot_images(images, [0], [0], b, names=["a"], save=False) for b in (share, pixels)]
    assert np.array_equal(*draw)
    np.testing.assert_allclose(draw[0][50, [40, 60]], [colors(0, True)] * 2, atol=40)
    assert not draw[0][50, 25].any()


def test_plot_images_writes_the_classes_of_a_classification():
    images = np.full((2, 3, 200, 200), 0.5)
    canvas = plotting.plot_images(images, [0, 1], [0, 1], paths=["a.jpg", "b.jpg"], names=["cat", "dog"], save=False)
    other = plotting.plot_images(images, [0, 1], [1, 1], paths=["a.jpg", "b.jpg"], names=["cat", "dog"], save=False)
    where = np.argwhere(changed(canvas, other))
    assert len(where) > 20 and where[:, 1].max() < 100 and where[:, 0].max() < 60


def test_output_to_rotated_target_keeps_the_angle():
    rows = [torch.zeros(0, 7), torch.tensor([[10.0, 20, 30, 60, 0.9, 2, 0.5]] * 4)]
    index, cls, boxes, conf = plotting.output_to_rotated_target(rows, max_det=3)
    assert index.tolist() == [1, 1, 1] and cls.tolist() == [2, 2, 2]
    assert boxes[0].tolist() == [10, 20, 30, 60, 0.5] and conf[0] == pytest.approx(0.9)
    assert [len(v) for v in plotting.output_to_rotated_target([])] == [0, 0, 0, 0]


def test_output_to_target_numbers_the_images():
    rows = [torch.tensor([[10.0, 20, 30, 60, 0.9, 2]]), torch.zeros(0, 6), torch.tensor([[0.0, 0, 4, 4, 0.5, 1]] * 5)]
    index, cls, boxes, conf = plotting.output_to_target(rows, max_det=3)
    assert index.tolist() == [0, 2, 2, 2] and cls.tolist() == [2, 1, 1, 1]
    assert boxes[0].tolist() == [20, 40, 20, 40] and conf[0] == pytest.approx(0.9)
    assert [len(v) for v in plotting.output_to_target([])] == [0, 0, 0, 0]


# Figures -----------------------------------------------------------------------------------------------------------
def ink(file) -> float:
    """Return the share of an image that is not white."""
    im = cv2.imread(str(file))
    return float((im < 250).any(-1).mean())


@pytest.fixture
def figures(monkeypatch) -> list:
    """The figures that are saved, small, for a look at what they hold."""
    kept, save = [], curves.save_figure

    def keep(figure, file, on_plot=None, dpi=200):
        kept.append(figure)
        return save(figure, file, on_plot, dpi=30)

    monkeypatch.setattr(curves, "save_figure", keep)
    monkeypatch.setattr(plotting, "save_figure", keep)
    return kept


def test_pr_curve_has_one_line_a_class_and_the_mean(tmp_path, figures):
    px, seen, names = np.linspace(0, 1, 100), [], {0: "fire", 1: "smoke"}
    py, ap = [1 - px, 1 - px**2], np.array([[0.5, 0.1], [0.7, 0.2]])
    plotting.plot_pr_curve(px, py, ap, tmp_path / "PR.png", names, seen.append)
    assert seen == [tmp_path / "PR.png"] and ink(seen[0]) > 0.01
    ax = figures[0].axes[0]
    assert len(ax.lines) == 3
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), np.mean(py, 0))
    texts = " ".join(t.get_text() for t in ax.get_legend().get_texts())
    assert "fire" in texts and "0.700" in texts and "0.600 mAP@0.5" in texts


def test_many_classes_get_no_legend_entries_of_their_own(tmp_path, figures):
    px = np.linspace(0, 1, 50)
    plotting.plot_mc_curve(px, [px * (1 - px)] * 21, tmp_path / "F1.png", {}, ylabel="F1")
    ax = figures[0].axes[0]
    assert len(ax.get_legend().get_texts()) == 1
    assert ax.get_ylabel() == "F1" and ax.get_xlabel() == "Confidence"


def test_metric_curve_names_its_best_threshold(tmp_path, figures):
    px = np.linspace(0, 1, 101)
    plotting.plot_mc_curve(px, [1 - np.abs(px - 0.3)], tmp_path / "F1.png", ["fire"])
    assert "at 0.3" in figures[0].axes[0].get_legend().get_texts()[-1].get_text()


def test_the_ring_stands_where_the_legend_says(tmp_path, figures):
    px = np.linspace(0, 1, 101)
    jagged = 0.6 * (1 - np.abs(px - 0.3)) + 0.2 * (np.arange(101) % 2)
    plotting.plot_mc_curve(px, [jagged, jagged / 2], tmp_path / "F1.png", ["fire", "smoke"])
    ax = figures[0].axes[0]
    (x,), (y,) = ax.lines[-1].get_data()
    assert ax.get_legend().get_texts()[-1].get_text() == f"all classes  {y:.2f} at {x:.3f}"
    assert y == ax.lines[-2].get_ydata()[round(100 * x)]  # on the curve


def test_the_only_class_is_seen_above_the_mean(tmp_path):
    """Whoever draws the same line twice sees the upper one alone, unless that is the thinner one."""
    plotting.plot_mc_curve(np.linspace(0, 1, 101), [np.full(101, 0.5)], tmp_path / "F1.png", ["fire"])
    b, _, r = np.moveaxis(cv2.imread(str(tmp_path / "F1.png")).astype(int), -1, 0)
    middle = slice(b.shape[1] // 4, b.shape[1] // 2)
    red, blue = ((r - b > 100) & (r > 200))[:, middle], ((b - r > 100) & (b > 200))[:, middle]
    assert red.all(1).any() and blue.all(1).any()


LONG = "a very long class name that somebody has copied from a taxonomy of insects"


@pytest.mark.parametrize(
    "names", [["fire"], ["fire", "smoke"], [LONG], [LONG, LONG[::-1], "a"], ["火焰", "佩戴安全帽" * 9]]
)
@pytest.mark.parametrize("draw", ["matrix", "curve"])
def test_nothing_is_cut_and_nothing_is_crowded_out(tmp_path, figures, names, draw):
    """At the edge of the image there is a margin, and the axes have kept their size."""
    n = len(names)
    if draw == "matrix":
        plotting.plot_confusion_matrix(np.full((n + 1, n + 1), 123456), names, False, tmp_path)
    else:
        plotting.plot_mc_curve(np.linspace(0, 1, 11), np.full((n, 11), 0.5), tmp_path / "confusion_matrix.png", names)
    im = cv2.imread(str(tmp_path / "confusion_matrix.png"))
    edges = (im[:2], im[-2:], im[:, :2], im[:, -2:])
    assert min(int(edge.min()) for edge in edges) > 250
    box = figures[0].axes[0].get_window_extent()
    assert min(box.width, box.height) / figures[0].dpi > 3.9  # inches


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("$a_1$", r"\$a_1\$"), (r"$\nothing$", r"\$\nothing\$"), ("_x", " _x"), ("a\nb", "a b"), ("\ud800", "?"),
        ("a" * 30 + "b" * 30, "a" * 19 + "..." + "b" * 18),
    ],
)  # fmt: skip
def test_a_name_is_drawn_as_it_is_called(tmp_path, figures, name, shown):
    assert curves.drawable([name]) == ([shown], None)
    plotting.plot_confusion_matrix(np.ones((2, 2)), [name], False, tmp_path)
    plotting.plot_mc_curve(np.linspace(0, 1, 5), [np.ones(5)], tmp_path / "F1.png", [name])
    plotting.plot_labels(np.full((1, 4), 0.5), np.zeros(1), [name], tmp_path)
    assert figures[1].axes[0].get_legend().get_texts()[0].get_text() == shown


def test_curves_without_a_class_are_drawn_empty(tmp_path):
    plotting.plot_pr_curve(np.linspace(0, 1, 10), [], np.zeros((0, 10)), tmp_path / "PR.png", {})
    plotting.plot_mc_curve(np.linspace(0, 1, 10), [], tmp_path / "F1.png", {})
    assert (tmp_path / "PR.png").is_file() and (tmp_path / "F1.png").is_file()


@pytest.mark.parametrize("normalize", [False, True])
def test_confusion_matrix_shows_its_numbers(tmp_path, figures, normalize):
    matrix = np.array([[30, 0, 5], [10, 20, 0], [0, 0, 0.0]])
    plotting.plot_confusion_matrix(matrix, ["fire", "smoke"], normalize, tmp_path)
    name = "confusion_matrix_normalized.png" if normalize else "confusion_matrix.png"
    assert ink(tmp_path / name) > 0.05
    ax = figures[0].axes[0]
    cells = {t.get_position(): t.get_text() for t in ax.texts}
    texts = ("0.75", "1.00", "0.25", "1.00") if normalize else ("30", "5", "10", "20")
    assert cells == dict(zip(((0, 0), (2, 0), (0, 1), (1, 1)), texts))  # column, row
    assert [t.get_text() for t in ax.get_yticklabels()] == ["fire", "smoke", "background"]


def test_label_statistics(tmp_path, figures):
    rng, seen = np.random.default_rng(0), []
    cls = torch.from_numpy(rng.integers(0, 2, (50, 1)))
    plotting.plot_labels(torch.rand(50, 4), cls, {0: "a", 1: "b"}, tmp_path, seen.append)
    assert seen == [tmp_path / "labels.jpg"] and ink(seen[0]) > 0.05
    bars = figures[0].axes[0].patches
    assert len(bars) == 2 and sum(b.get_height() for b in bars) == 50
    plotting.plot_labels(np.zeros((0, 4)), np.zeros(0), ["a"], tmp_path)  # a set without boxes


def write_results(file, epochs: int, pad: int = 0):
    rows = [["epoch", "time", "train/box_loss", "metrics/mAP50(B)", "metrics/mAP50-95(B)", "val/box_loss", "lr/pg0"]]
    rows += [[e, e * 2, 1 / e, "nan" if e == 2 else 0.5, 0.3, 2 / e, 0.01] for e in range(1, epochs + 1)]
    lines = [",".join(str(v).rjust(pad) for v in row) for row in rows]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("pad", [0, 23])
def test_results_are_drawn_from_plain_and_padded_columns(tmp_path, figures, pad):
    write_results(tmp_path / "results.csv", 12, pad)
    seen = []
    plotting.plot_results(tmp_path / "results.csv", on_plot=seen.append)
    assert seen == [tmp_path / "results.png"] and ink(seen[0]) > 0.01
    shown = {ax.get_title(loc="left"): ax for ax in figures[0].axes if ax.get_visible()}
    assert list(shown) == ["train/box_loss", "metrics/mAP50(B)", "val/box_loss", "metrics/mAP50-95(B)"]
    np.testing.assert_allclose(shown["train/box_loss"].lines[0].get_ydata(), 1 / np.arange(1, 13))
    smooth = shown["metrics/mAP50(B)"].lines[1].get_ydata()
    np.testing.assert_allclose(smooth, 0.5, err_msg="an epoch without a number leaves no hole")


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_results_of_few_epochs_count_whole_ones(tmp_path, figures, epochs):
    text = "epoch,train/loss,val/loss\n" + "".join(f"{e},{1 / e},nan\n" for e in range(1, epochs + 1))
    (tmp_path / "results.csv").write_text(text, encoding="utf-8")
    plotting.plot_results(tmp_path / "results.csv")
    train, val = figures[0].axes
    low, high = train.get_xlim()
    assert [x for x in train.get_xticks() if low <= x <= high] == list(range(1, epochs + 1))
    assert [t.get_text() for t in val.texts] == ["no number"] and not len(val.get_xticks())


def test_long_class_names_stand_upright_below_their_bars(tmp_path, figures):
    for names in (["fire", "smoke"], ["long-headed poppy beetle", "another of these names", "x"]):
        plotting.plot_labels(np.full((2, 4), 0.5), np.arange(2), names, tmp_path)
    assert [figure.axes[0].get_xticklabels()[0].get_rotation() for figure in figures] == [0, 90]


def test_results_say_what_is_wrong(tmp_path):
    with pytest.raises(MissingFileError, match=r"results\.csv"):
        plotting.plot_results(tmp_path / "results.csv")
    write_results(tmp_path / "results.csv", 0)
    with pytest.raises(DataError, match="no epoch"):
        plotting.plot_results(tmp_path / "results.csv")


def test_figures_leave_pyplot_alone_and_can_be_drawn_in_a_thread(tmp_path):
    before = "matplotlib.pyplot" in sys.modules
    worker = threading.Thread(target=plotting.plot_mc_curve, args=([0, 0.5, 1], [[0, 1, 0]], tmp_path / "t.png"))
    worker.start()
    worker.join()
    assert (tmp_path / "t.png").is_file()
    assert ("matplotlib.pyplot" in sys.modules) == before
