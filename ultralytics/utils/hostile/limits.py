"""Limits on what an untrusted file may demand: far above what honest files hold, far below what stops a machine."""

from __future__ import annotations

MIB = 1 << 20

# YAML. PyYAML reads some 100 kB a second; the names of ImageNet-21k take 0.5 MB.
YAML_BYTES = 2 * MIB
YAML_NODES = 100_000  # with each alias counted as often as it is used: nine lines of aliases make a billion
YAML_DIGITS = 100  # of a whole number
YAML_DEPTH = 64  # of nested lists; model YAMLs have 4

# Texts. The largest outlines of an image in COCO take 0.1 MB; a list of a million images takes 100.
LABEL_BYTES = 16 * MIB
TEXT_BYTES = 1024 * MIB
XML_BYTES = 16 * MIB  # an annotation of Pascal VOC has some kB
JSON_BYTES = 4096 * MIB  # LVIS has 1.1 GB
RECORD_BYTES = 64 * MIB  # JSON that this package writes: settings, results, metadata

# Archives, also those inside of weight files and label caches.
MAX_RATIO = 100  # images and labels shrink far less; what unpacks to more is a bomb
MEMBERS = 4_000_000  # files in an archive; Objects365 has 1.9 million
FOLDERS = 1_000  # in an archive, and two more for each of its members
DEPTH = 32  # nested folders

# Images; their pixels are limited by `PIL.Image.MAX_IMAGE_PIXELS` (see data/image_files.py).
IMAGE_BYTES = 1024 * MIB
PIXELS = 178_956_970  # of frames and masks: what Pillow takes by default

# Weight files.
PICKLE_BYTES = 128 * MIB  # what describes the tensors; that of yolo11x takes 0.3 MB
PICKLE_BUILT = 192 * MIB  # memory that it takes to unpickle; that of yolo11n takes 10 MB
PICKLE_NODES = 2_000_000  # values in it, each counted as often as it is referenced
SCRIPT_BYTES = 2 * MIB  # of source in TorchScript; that of yolo11n-seg takes 0.2 MB
MODULES = 200_000  # and tensors; yolo11x has 1,500
SHARED = 16  # ratio of its tensors' total size to the file's: some are tied, some grow to float32

# Models.
CLASSES = 100_000  # ImageNet-21k has 21,841
REPEATS = 1_000  # of a layer
NUMBER = 1 << 20  # largest argument of a layer
PARAMETERS = 1_000_000_000  # 4 GB; yolo11x has 57 million
USUAL = 1 << 22  # product of a layer's larger arguments, such as channels, up to which it cannot have that many
KERNEL = 63  # side of a convolution's window; the largest in use are 51 (arXiv 2207.03620), and above none is fast
WORK = 200_000_000_000  # multiplications for an image of 256 pixels; yolo11x-seg takes 26 billion
VALUES = 500_000_000  # of one output for such an image; yolo11x-seg has 2 million
SIDE = 65_536  # pixels of an image that a model takes
TRIED_VALUES = 1 << 26  # of the images that an exported file expects, if its graph does not say so: 256 MB
