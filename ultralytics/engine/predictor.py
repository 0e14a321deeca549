"""Prediction: source -> letterbox -> model -> post-processing -> Results, with what is shown and saved of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ultralytics.cfg import DEFAULT_CFG, get_cfg, run_folder
from ultralytics.data.augment import LetterBox
from ultralytics.data.build import load_inference_source
from ultralytics.data.image_files import VID_FORMATS, suffix
from ultralytics.data.labels import img2label_paths
from ultralytics.engine.call import Call, Calls, of_call
from ultralytics.engine.callbacks import Callbacks, get_default_callbacks
from ultralytics.engine.outputs import OutputNames, VideoSaver
from ultralytics.engine.results import Results
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.nn.features import watch_layers
from ultralytics.utils import LOGGER, colorstr
from ultralytics.utils.checks import check_imgsz, check_imshow
from ultralytics.utils.drawing.annotator import imwrite
from ultralytics.utils.drawing.feature_maps import feature_visualization
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import RunFolder, writing
from ultralytics.utils.hostile.names import clean_name
from ultralytics.utils.ops import Profile, clean_str
from ultralytics.utils.system.threads import THREADS
from ultralytics.utils.torch_utils import select_device

LONG_SOURCE = 1000  # images whose results, kept together, may fill the memory

FRAME = re.compile(r"video \d+/\d+ \(frame (\d+)/")  # how the log text of a video's frame begins


class BasePredictor(Calls, Callbacks):
    """Runs a model over a source; a task fills in `postprocess`.

    One predictor may be used from several threads, and several streams of it may be read in turn: each call keeps its
    own state (see `Call`), and one lock lets one batch through at a time.

    Attributes:
        args: the settings.
        model: the AutoBackend, once `setup_model` has run.
        dataset, batch: the source, and its present batch: paths, images, log texts.
        results, seen: what was found in that batch, and the number of images so far.
        trackers: those of the latest call of mode 'track', one a stream; None before.
    """

    task: str | None = None  # of which predictors of one task say the name

    model, device, trackers = (of_call(name, kept=True) for name in ("model", "device", "trackers"))
    stream, dataset, source_type, imgsz, batch = map(of_call, ("stream", "dataset", "source_type", "imgsz", "batch"))
    results, seen, plotted_img, vid_writer = map(of_call, ("results", "seen", "plotted_img", "vid_writer"))
    windows = of_call("windows")

    def __init__(self, cfg: Any = DEFAULT_CFG, overrides: dict | None = None, _callbacks: dict | None = None):
        super().__init__(None)
        self._cfg = cfg
        self.update_args(overrides)
        self.callbacks = _callbacks or get_default_callbacks()
        self.done_warmup = False
        self._made_for: tuple | None = None

    def update_args(self, overrides: dict | None = None) -> None:
        """Take other settings, for the calls that begin from now on; what is not named has its default again."""
        args = get_cfg(self._cfg, {"mode": "predict", **(overrides or {})})
        args.task = self.task or args.task
        if args.conf is None:
            args.conf = 0.25
        self.args = args

    # Set-up --------------------------------------------------------------------------------------------------------
    def setup_model(self, model: Any = None, verbose: bool = True) -> None:
        """Make the model ready to run.

        Args:
            model: a module, a weight file, or None for `args.model`.
            verbose: say on which device it runs.
        """
        source = model if model is not None else self.args.model
        if source is None:
            raise ConfigError("No model was given. Name a weight file: model=runs/detect/train/weights/best.pt.")
        self.device = select_device(self.args.device, verbose=verbose)
        self.model = AutoBackend(
            source, self.device, fp16=self.args.half, batch=self.args.batch, fuse=True, verbose=verbose,
            threads=self.args.threads, providers=self.args.providers, trusted=self.args.trust_modules,
        )  # fmt: skip
        self.model.eval()
        self._made_for = (source, str(self.args.device), self.args.half)
        self.done_warmup = False

    def _ready_model(self, model: Any) -> None:
        """Set the model up at the first call, and again when another model, device or precision is asked for."""
        source, device, half = self._made_for or (None, None, None)
        wanted = source if model is None or model is self.model else model
        if self.model is None or wanted != source or (str(self.args.device), self.args.half) != (device, half):
            self.setup_model(wanted, verbose=self.args.verbose)
        self._call.model, self._call.device = self.model, self.device  # which this call keeps, whatever others ask for

    def setup_source(self, source: Any) -> None:
        """Open a source and settle the size of the model's input."""
        self.imgsz = self.model.imgsz or check_imgsz(self.args.imgsz, stride=self.model.stride, min_dim=2)
        self.dataset = load_inference_source(
            source, batch=self.args.batch, vid_stride=self.args.vid_stride, buffer=self.args.stream_buffer
        )
        self.source_type = self.dataset.source_type
        moving = self.source_type.stream or any(getattr(self.dataset, "video_flag", ()))
        if not self.stream and (moving or len(self.dataset) > LONG_SOURCE):
            LOGGER.warning(
                "WARNING: results of a long source pile up in memory when they are returned as a list. "
                f"Read them one by one instead: for result in model.{self.args.mode}(source, stream=True): ..."
            )

    # The steps -----------------------------------------------------------------------------------------------------
    def pre_transform(self, im: list[np.ndarray]) -> list[np.ndarray]:
        """Letterbox images: into the least rectangle if all have one shape and the model takes any, else a square."""
        same = len({x.shape for x in im}) == 1
        letterbox = LetterBox(tuple(self.imgsz), auto=same and self.model.pt, stride=self.model.stride)
        return [letterbox(image=x) for x in im]

    def preprocess(self, im: torch.Tensor | list[np.ndarray]) -> torch.Tensor:
        """Turn BGR images (h, w, 3) uint8 into a batch (b, 3, h, w) RGB in 0..1; a tensor is such a batch already.

        The batch lies in memory as the images do, channels last, so no value is moved but by the conversion to float.
        """
        dtype = torch.float16 if self.model.fp16 else torch.float32
        if isinstance(im, torch.Tensor):
            return im.to(self.device, dtype)
        images = [cv2.cvtColor(x, cv2.COLOR_BGR2RGB) for x in self.pre_transform(im)]
        stacked = images[0][None] if len(images) == 1 else np.stack(images)
        return torch.from_numpy(stacked).to(self.device).permute(0, 3, 1, 2).to(dtype).div_(255)

    def inference(self, im: torch.Tensor, *args, **kwargs) -> Any:
        """Run the model on a batch; with `visualize`, draw what its layers give on the way."""
        if self.args.augment:
            kwargs = {**kwargs, "augment": True}
        if not self.args.visualize:
            return self.model(im, *args, **kwargs)
        network = self.model.network("Maps of the layers (visualize=True) come")
        folder = self._run_folder() / self._out_name(Path(self.batch[0][0])).stem
        self._call.fresh.add(folder)
        return watch_layers(
            lambda: self.model(im, *args, **kwargs),
            network,
            lambda i, layer, out: feature_visualization(out, type(layer).__name__, i, save_dir=folder),
        )

    def _embed(self, paths: list[str], images: Any) -> list[torch.Tensor]:
        """Return the features (channels,) of each image of a batch, from the layers that `embed` names."""
        layers = [self.args.embed] if isinstance(self.args.embed, int) else self.args.embed
        with torch.inference_mode():
            rows = self.model.embed(self.preprocess(images), layers)
        self.seen += len(paths)
        return [row.clone() for row in rows]  # outside inference mode, as a user's tensors are

    def postprocess(self, preds: Any, img: torch.Tensor, orig_imgs: torch.Tensor | list[np.ndarray]) -> list[Results]:
        """Turn what the model gave into one Results an image.

        Args:
            preds: the model's output.
            img: (b, 3, h, w) the batch it was given.
            orig_imgs: the images as they came.
        """
        raise NotImplementedError(f"{type(self).__name__} has to say how predictions become Results.")

    # The run -------------------------------------------------------------------------------------------------------
    def __call__(self, source: Any = None, model: Any = None, stream: bool = False, *args, **kwargs):
        """Predict on a source; return a list of Results, or with `stream` an iterator that makes them one by one."""
        with self.new_call() as call:
            call.stream = stream
            results = self.stream_inference(source, model, *args, **kwargs)
            return results if stream else list(results)

    def predict_cli(self, source: Any = None, model: Any = None) -> None:
        """Predict on a source for the sake of what is logged and saved; nothing is kept."""
        for _ in self.stream_inference(source, model):
            pass

    def stream_inference(self, source: Any = None, model: Any = None, *args, **kwargs) -> Iterator[Results]:
        """Return an iterator over Results; the settings are those of the moment of this call."""
        with self.new_call() as call:
            call.begun = True
            return self._stream(call, source, model, args, kwargs)

    def _stream(self, call: Call, source: Any, model: Any, args: tuple, kwargs: dict) -> Iterator[Results]:
        batches: Any = iter(())
        try:
            with self._lock, self._at_work(call):
                profilers = self._begin(source, model)
                batches = iter(self.dataset)
            for batch in batches:  # reading goes on beside the batches of other calls
                with self._lock, self._at_work(call):
                    self.batch = batch
                    results = self._step(profilers, args, kwargs)
                yield from results
            with self._lock, self._at_work(call):
                self._end(profilers)
        finally:
            for opened in (batches, call.dataset, *call.vid_writer.values()):
                if hasattr(opened, "close"):
                    opened.close()
            for window in call.windows:
                with suppress(cv2.error):
                    cv2.destroyWindow(window)
            if call.folder and not call.fresh:
                with suppress(OSError):
                    (call.folder.path / "labels").rmdir()
                call.folder.remove_if_empty()

    def _begin(self, source: Any, model: Any) -> list[Profile]:
        """Open model and source; return the stopwatches of the three steps."""
        self._ready_model(model)
        self.setup_source(source if source is not None else self.args.source)
        if not self.done_warmup:
            self.warm_up()
            self.done_warmup = True
        self.run_callbacks("on_predict_start")
        return [Profile(device=self.device) for _ in range(3)]

    def warm_up(self) -> None:
        """Do once what would otherwise be counted as time of the first image."""
        self.model.warmup(imgsz=(1 if self.model.pt else self.args.batch, 3, *self.imgsz))

    def _step(self, profilers: list[Profile], args: tuple, kwargs: dict) -> list[Results]:
        """Take one batch through all steps."""
        THREADS.follow()
        self.run_callbacks("on_predict_batch_start")
        paths, images, texts = self.batch
        if self.args.embed is not None:
            return self._embed(paths, images)
        with torch.inference_mode():
            with profilers[0]:
                im = self.preprocess(images)
            with profilers[1]:
                preds = self.inference(im, *args, **kwargs)
            with profilers[2]:
                self.results = self.postprocess(preds, im, images)
        self.run_callbacks("on_predict_postprocess_end")
        n = len(images)
        speed = {k: p.dt * 1e3 / n for k, p in zip(("preprocess", "inference", "postprocess"), profilers)}
        for i, result in enumerate(self.results):
            self.seen += 1
            result.speed = dict(speed)
            line = self.write_results(i, Path(paths[i]), im, texts) if self._writes else ""
            if self.args.verbose and line:
                LOGGER.info(line)
        self._call.shape = tuple(im.shape)
        self.run_callbacks("on_predict_batch_end")
        return self.results

    def _end(self, profilers: list[Profile]) -> None:
        """Say how long the steps took and where things were saved."""
        if self.args.verbose and self.seen and self.args.embed is None:
            times = tuple(p.t * 1e3 / self.seen for p in profilers)
            shape = (min(self.args.batch, self.seen), *self._call.shape[1:])
            line = "Speed: %.1fms preprocess, %.1fms inference, %.1fms postprocess per image at shape "
            LOGGER.info(line % times + str(shape))
        if self._call.fresh:
            labels = len(list((self.save_dir / "labels").glob("*.txt"))) if self.args.save_txt else 0
            found = f"\n{labels} label{'s' * (labels != 1)} saved to {self.save_dir / 'labels'}" if labels else ""
            LOGGER.info(f"Results saved to {colorstr('bold', str(self.save_dir))}{found}")
        self.run_callbacks("on_predict_end")

    # What is shown and saved ---------------------------------------------------------------------------------------
    @property
    def _saves(self) -> bool:
        return self.args.save or self.args.save_txt or self.args.save_crop or self.args.save_frames

    @property
    def _writes(self) -> bool:
        return self.args.verbose or self.args.show or self._saves

    @property
    def save_dir(self) -> Path:
        """The run folder: chosen when first asked for, kept until another is named, made when something is saved."""
        return self._chosen_folder().path

    def _chosen_folder(self) -> RunFolder:
        """Return the run folder of this call, which is that of the calls before if they named the same."""
        key = (self.args.project, self.args.name, self.args.exist_ok, self.args.get("save_dir"))
        with self._lock:
            self._call.folder = self._call.folder or self._folders.setdefault(key, run_folder(self.args))
            return self._call.folder

    def _run_folder(self) -> Path:
        """Return the run folder, made now if it is not there; files of the source that lie in it are spared."""
        folder = self._chosen_folder()
        if self._call.names is None:
            path, held = folder.make(), (getattr(self.dataset, name, None) for name in ("files", "sources", "paths"))
            files = next(filter(None, held), ())
            self._call.names = OutputNames([*files, *img2label_paths(files)], (path, path / "labels"))
        return folder.path

    def _frame(self, i: int) -> int | None:
        """Return the number of the frame that image i of the batch is, in its stream or video; None if it is none."""
        text = self.batch[2][i]
        if self.source_type.stream:
            self._call.frames[text] += 1
            return self._call.frames[text]
        found = FRAME.match(text)
        return int(found[1]) if found else None

    def write_results(self, i: int, p: Path, im: torch.Tensor, s: list[str]) -> str:
        """Save and show what was found in image i of the batch, and return its log line.

        Args:
            p: path of the image.
            im: (b, 3, h, w) the model's input.
            s: log texts of the batch.
        """
        result, frame = self.results[i], self._frame(i)
        height, width = im.shape[2:]
        line = f"{s[i] or f'{i}: '}{height}x{width} {result.verbose()}{result.speed['inference']:.1f}ms"
        if self._saves:
            result.save_dir = str(self._run_folder())
            self._save(result, self._out_name(p), frame, i)
        if self.args.show:
            self._show(self._draw(result), clean_name(p), frame is not None)
        return line

    def _draw(self, result: Results) -> np.ndarray:
        a = self.args
        self.plotted_img = result.plot(
            line_width=a.line_width, boxes=a.show_boxes, conf=a.show_conf, labels=a.show_labels
        )
        return self.plotted_img

    def _out_name(self, p: Path) -> Path:
        """Return the file name under which an image, video or stream is saved; an address is made one.

        Of images with one name, from several folders, all but the first get a number.
        """
        if not self.source_type.stream:
            return Path(self._call.names(p) + p.suffix)
        name = p.with_suffix("") if suffix(str(p)) in VID_FORMATS else p
        return Path(self._call.names(p, re.sub(r"[\\/:.\s]+", "_", clean_str(str(name)))))

    def _save(self, result: Results, p: Path, frame: int | None, i: int) -> None:
        """Save the image, the label file and the cut-outs that the settings ask for."""
        stem, fresh = p.stem if frame is None else f"{p.stem}_{frame}", self._call.fresh
        if self.args.save_txt:
            file = self.save_dir / "labels" / f"{stem}.txt"
            if file not in fresh:
                with writing(file):
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.unlink(missing_ok=True)  # of an older run into the same folder
            result.save_txt(file, save_conf=self.args.save_conf)
            fresh.add(file)
        if self.args.save_crop:
            result.save_crop(self.save_dir / "crops", file_name=stem)
            fresh.add(self.save_dir)
        if not (self.args.save or (self.args.save_frames and frame is not None)):
            return
        drawn, out = self._draw(result), self.save_dir / p
        if frame is None:
            imwrite(out if out.suffix else out.with_suffix(".jpg"), drawn)
        if self.args.save and frame is not None:
            if out not in self.vid_writer:
                self.vid_writer[out] = VideoSaver(out, self._fps(i), drawn.shape)
            self.vid_writer[out].write(drawn)
        if self.args.save_frames and frame is not None:
            imwrite(self.save_dir / f"{p.stem}_frames" / f"{frame}.jpg", drawn)
        fresh.add(out)

    def _fps(self, i: int) -> float:
        """Return the frame rate of the video that is written for image i of the batch."""
        fps = getattr(self.dataset, "fps", 30)
        fps = fps[i] if isinstance(fps, (list, tuple)) else fps
        return max(float(fps or 30) / self.args.vid_stride, 1.0)

    def _show(self, drawn: np.ndarray, title: str, moving: bool) -> None:
        """Show an image in a window: half a second, or one frame's time."""
        if not check_imshow(warn=True):
            self.args.show = False
            return
        try:
            if title not in self.windows:
                cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
                cv2.resizeWindow(title, drawn.shape[1], drawn.shape[0])
                self.windows.add(title)
            cv2.imshow(title, drawn)
            cv2.waitKey(1 if moving else 500)
        except cv2.error:
            self.args.show = False
            LOGGER.warning("WARNING: show=True needs a screen and an OpenCV that opens windows; use save=True instead.")
