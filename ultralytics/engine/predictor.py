"""Prediction: source -> letterbox -> model -> post-processing -> Results, which are shown and saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import torch
from torch import nn

from ultralytics.cfg import DEFAULT_CFG, SettingsLike, get_cfg, run_folder
from ultralytics.data.augment import LetterBox
from ultralytics.data.build import load_inference_source
from ultralytics.data.labels import img2label_paths
from ultralytics.data.loaders import Images
from ultralytics.engine.callbacks import Callbacks, get_default_callbacks
from ultralytics.engine.outputs import ResultSaver
from ultralytics.engine.prediction_run import PredictionRun, Runs
from ultralytics.engine.results import Results
from ultralytics.nn.autobackend import AutoBackend, Output
from ultralytics.utils import LOGGER, colorstr
from ultralytics.utils.checks import check_imgsz
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import RunFolder
from ultralytics.utils.hostile.names import clean_name
from ultralytics.utils.ops import Profile
from ultralytics.utils.system.threads import THREADS
from ultralytics.utils.torch_utils import select_device

LONG_SOURCE = 1000  # images whose results, kept together, may fill the memory
STREAM_WARNING = (
    "WARNING: results of a long source accumulate in memory when they are returned as a list. "
    "Read them one by one instead: for result in model.predict(source, stream=True): ..."
)


class BasePredictor(Runs, Callbacks):
    """Runs a model over a source; the predictors of tasks turn its output into Results (`make_results`).

    One predictor may be used from several threads, and several streams of it may be read in turn: each call is a
    `PredictionRun` of its own, and one lock lets one batch through at a time. What belongs to the present run is found
    under the names of 8.3.0 (see `Runs`): args, dataset, batch, results, seen, ...

    Attributes:
        task: that all models of this predictor have; None: as the settings say.
        done_warmup: whether the model has run once.
    """

    task: str | None = None

    def __init__(self, cfg: SettingsLike = DEFAULT_CFG, overrides: dict | None = None, _callbacks: dict | None = None):
        args = get_cfg(cfg, {"mode": "predict", **(overrides or {})})
        super().__init__(args.replaced(task=self.task or args.task, conf=0.25 if args.conf is None else args.conf))
        self.callbacks = _callbacks or get_default_callbacks()
        self.done_warmup = False
        self._made_for: tuple | None = None  # model, device, precision and `compile`

    # Set-up --------------------------------------------------------------------------------------------------------
    def setup_model(self, model: str | Path | nn.Module | None = None, verbose: bool = True) -> None:
        """Load the model for inference.

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
            compile=self.args.compile,
        )  # fmt: skip
        self.model.eval()
        self._made_for = self._wanted(source)
        self.done_warmup = False

    def _wanted(self, source: object) -> tuple:
        """Return what a model is set up for."""
        return source, str(self.args.device), self.args.half, self.args.compile

    def _ready_model(self, model: str | Path | nn.Module | None) -> None:
        """Set the model up at the first call, and again when another model, device or precision is asked for."""
        made_for = self._made_for  # None also where a subclass sets models up in its own way, once
        source = made_for[0] if made_for and (model is None or model is self.model) else model
        if self.model is None or (made_for and made_for != self._wanted(source)):
            self.setup_model(source, verbose=self.args.verbose)
        self.run.model, self.run.device = self.model, self.device  # which this run keeps, whatever others ask for

    def input_size(self) -> Sequence[int]:
        """Return the (height, width) of the model's input."""
        size = self.model.imgsz or check_imgsz(self.args.imgsz, stride=self.model.stride, min_dim=2)
        return cast(Sequence[int], size)

    def setup_source(self, source: object) -> None:
        """Open a source and choose the size of the model's input."""
        self.imgsz = self.input_size()
        self.dataset = load_inference_source(
            source, batch=self.args.batch, vid_stride=self.args.vid_stride, buffer=self.args.stream_buffer
        )
        self.source_type = self.dataset.source_type
        moving = self.source_type.stream or any(getattr(self.dataset, "video_flag", ()))
        if not self.run.stream and (moving or len(self.dataset) > LONG_SOURCE):
            LOGGER.warning(STREAM_WARNING)

    def add_callback(self, event: str, func: Callable) -> None:
        """Append a function to an event."""
        super().add_callback(event, func)

    # The steps -----------------------------------------------------------------------------------------------------
    def pre_transform(self, im: list[np.ndarray]) -> list[np.ndarray]:
        """Letterbox images: into the least rectangle if all have one shape and the model takes any, else a square."""
        same = len({x.shape for x in im}) == 1
        height, width = self.imgsz
        letterbox = LetterBox((height, width), auto=same and self.model.pt, stride=self.model.stride)
        return [letterbox(image=x) for x in im]

    def preprocess(self, im: Images) -> torch.Tensor:
        """Turn BGR images (h, w, 3) uint8 into a batch (b, 3, h, w) RGB in 0..1; a tensor is such a batch already.

        The batch lies in memory as the images do, channels last, so no value is moved but by the conversion to float.
        """
        dtype = torch.float16 if self.model.fp16 else torch.float32
        if isinstance(im, torch.Tensor):
            return im.to(self.device, dtype)
        images = [cv2.cvtColor(x, cv2.COLOR_BGR2RGB) for x in self.pre_transform(im)]
        stacked = images[0][None] if len(images) == 1 else np.stack(images)
        return torch.from_numpy(stacked).to(self.device).permute(0, 3, 1, 2).to(dtype).div_(255)

    def inference(self, im: torch.Tensor, *args, **kwargs) -> Output:
        """Run the model on a batch; with `visualize`, draw the feature maps of its layers."""
        if self.args.augment:
            kwargs = {**kwargs, "augment": True}
        if not self.args.visualize:
            return self.model(im, *args, **kwargs)
        saver = self._ready_saver()
        folder = self.save_dir / saver.name(Path(self.batch[0][0]), self.source_type.stream).stem
        preds = self.model(im, *args, visualize=folder, **kwargs)
        saver.written.add(folder)
        return preds

    def _embed(self, paths: list[str], images: Images) -> list[torch.Tensor]:
        """Return the features (channels,) of each image of a batch, from the layers that `embed` names."""
        layers = [self.args.embed] if isinstance(self.args.embed, int) else self.args.embed
        with torch.inference_mode():
            rows = self.model.embed(self.preprocess(images), layers)
        self.seen += len(paths)
        return [row.clone() for row in rows]  # outside inference mode, as a user's tensors are

    def postprocess(self, preds: Output, img: torch.Tensor, orig_imgs: Images) -> list[Results]:
        """Turn the model's output for the current batch into one Results per image.

        Args:
            preds: the model's output.
            img: (b, 3, h, w) the batch it was given.
            orig_imgs: the original images.
        """
        return self.make_results(preds, img, orig_imgs, self.batch[0])

    def make_results(self, preds: Output, img: torch.Tensor, orig_imgs: Images, paths: Sequence[str]) -> list[Results]:
        """Turn the model's output into one Results per image; arguments as in `postprocess`.

        Args:
            paths: of the images.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define how predictions become Results.")

    # The run -------------------------------------------------------------------------------------------------------
    def __call__(
        self, source: object = None, model: str | Path | nn.Module | None = None, stream: bool = False, *args, **kwargs
    ):
        """Predict on a source; return a list of Results, or with `stream` an iterator that makes them one by one."""
        with self.new_run() as run:
            run.stream = stream
            results = self.stream_inference(source, model, *args, **kwargs)
            return results if stream else list(results)

    def predict_cli(self, source: object = None, model: str | Path | nn.Module | None = None) -> None:
        """Predict on a source to log and save; results are not kept."""
        for _ in self.stream_inference(source, model):
            pass

    def stream_inference(
        self, source: object = None, model: str | Path | nn.Module | None = None, *args, **kwargs
    ) -> Iterator[Results]:
        """Return an iterator over Results, with the settings as they are at this call."""
        with self.new_run() as run:
            run.begun = True
            return self._stream(run, source, model, args, kwargs)

    def _stream(
        self, run: PredictionRun, source: object, model: str | Path | nn.Module | None, args: tuple, kwargs: dict
    ) -> Iterator[Results]:
        batches: Iterator[tuple[list[str], Images, list[str]]] = iter(())
        try:
            with self._lock, self._at_work(run):
                profilers = self._begin(source, model)
                batches = iter(self.dataset)
            for batch in batches:  # reading goes on beside the batches of other runs
                with self._lock, self._at_work(run):
                    run.take(batch)
                    results = self._step(profilers, args, kwargs)
                yield from results
            with self._lock, self._at_work(run):
                self._end(profilers)
        finally:
            if hasattr(batches, "close"):
                batches.close()
            run.close()

    def _begin(self, source: object, model: str | Path | nn.Module | None) -> list[Profile]:
        """Open model and source; return the timers of the three steps."""
        self._ready_model(model)
        self.setup_source(source if source is not None else self.args.source)
        if not self.done_warmup:
            self.warm_up()
            self.done_warmup = True
        self.run_callbacks("on_predict_start")
        return [Profile(device=self.device) for _ in range(3)]

    def warm_up(self) -> None:
        """Run the model once, so that the first image is not timed with its start-up."""
        height, width = self.imgsz
        self.model.warmup(imgsz=(1 if self.model.pt else self.args.batch, 3, height, width))

    def _step(self, profilers: list[Profile], args: tuple, kwargs: dict) -> list:
        """Process one batch; return its Results, or its features where `embed` asks for them."""
        THREADS.follow()
        self.run_callbacks("on_predict_batch_start")
        paths, images, texts = self.batch
        if len(paths) != len(self.run.frames):  # a callback has replaced it
            self.run.take(self.batch)
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
        self.run.shape = tuple(im.shape)
        self.run_callbacks("on_predict_batch_end")
        return self.results

    def _end(self, profilers: list[Profile]) -> None:
        """Log the duration of the steps and where results were saved."""
        if self.args.verbose and self.seen and self.args.embed is None:
            times = tuple(p.t * 1e3 / self.seen for p in profilers)
            shape = (min(self.args.batch, self.seen), *self.run.shape[1:])
            line = "Speed: %.1fms preprocess, %.1fms inference, %.1fms postprocess per image at shape "
            LOGGER.info(line % times + str(shape))
        if self.run.saver and self.run.saver.written:
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
        """Return the folder of this run, which is that of the runs before if they named the same."""
        key = (self.args.project, self.args.name, self.args.exist_ok, self.args.get("save_dir"))
        with self._lock:
            self.run.folder = self.run.folder or self._folders.setdefault(key, run_folder(self.args))
            return self.run.folder

    def _ready_saver(self) -> ResultSaver:
        """Return the saver of results, which never overwrites files of the source."""
        if self.run.saver is None:
            held = (getattr(self.dataset, name, None) for name in ("files", "sources", "paths"))
            files = next(filter(None, held), ())
            self.run.saver = ResultSaver(self._chosen_folder(), [*files, *img2label_paths(files)])
        return self.run.saver

    def write_results(self, i: int, p: Path, im: torch.Tensor, s: list[str]) -> str:
        """Save and show the results of image i of the batch, and return its log line.

        Args:
            p: path of the image.
            im: (b, 3, h, w) the model's input.
            s: log texts of the batch.
        """
        a, result, frame = self.args, self.results[i], self.run.frames[i]
        height, width = im.shape[2:]
        line = f"{s[i] or f'{frame.index}: '}{height}x{width} {result.verbose()}{result.speed['inference']:.1f}ms"
        saved, shown = a.save or (a.save_frames and frame.number is not None), a.show and self.run.windows.can_open
        if saved or shown:
            drawn = result.plot(line_width=a.line_width, boxes=a.show_boxes, conf=a.show_conf, labels=a.show_labels)
            assert isinstance(drawn, np.ndarray)  # as pil=False
            self.plotted_img, self.run.frame = drawn, frame
        if self._saves:
            saver = self._ready_saver()
            result.save_dir = str(self.save_dir)
            saver.save_found(result, frame, p, a)
        if saved:
            self.save_predicted_images(str(self.save_dir / saver.name(p, frame.kind == "stream")), frame.number or 0)
        if shown:
            self.show(str(p))
        return line

    def save_predicted_images(self, save_path: str = "", frame: int = 0) -> None:
        """Save `plotted_img`, the image that was drawn last, as a file or as a frame of a video.

        Args:
            save_path: file of the image or video.
            frame: number of the frame in its video or stream, from 1; 0 for an image.
        """
        assert self.plotted_img is not None  # as `write_results` draws it first
        fps = self.run.frame.fps if self.run.frame else 0.0
        self._ready_saver().save_drawn(self.plotted_img, Path(save_path), frame or None, fps, self.args)

    def show(self, p: str = "") -> None:
        """Show `plotted_img`, the image that was drawn last, in a window that is called after the image `p`."""
        assert self.plotted_img is not None  # as `write_results` draws it first
        moving = self.run.frame is not None and self.run.frame.number is not None
        self.run.windows.show(clean_name(p), self.plotted_img, moving)
