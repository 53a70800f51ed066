"""Data sets: finding them, opening them, decoding their images. Imports no torch.

``open_dataset("fashion-mini")`` -> ``Dataset`` with splits of labelled examples; ``load_split`` or
``decode_examples`` -> uint8 pictures.
Where things are: ``catalog`` (names, paths, the table of forms), one module per form, ``decode``
(the rules), ``cache``, ``check``, ``fetch``.
"""

from zoo.data.cache import channel_statistics, load_split
from zoo.data.catalog import (
    DATASETS,
    DatasetRow,
    Form,
    announce_untested,
    list_datasets,
    open_dataset,
    open_or_published,
    search_places,
    votes_of,
)
from zoo.data.check import DatasetCheck, SplitCheck, check_dataset, picture_digests
from zoo.data.dataset import (
    Contents,
    Dataset,
    EncodedSource,
    Found,
    ImageSource,
    PixelSource,
    Split,
    UnreadableImage,
)
from zoo.data.decode import (
    Decoded,
    Fit,
    decode_examples,
    decode_image,
    encode_examples,
    encode_pixels,
)
from zoo.data.fetch import FETCHABLE, fetch
from zoo.data.imagenet_classes import class_titles, is_imagenet, real_mask
from zoo.data.notes import Note, require_split, require_trainable
from zoo.data.preparing import Encoding, Prepared, prepare

__all__ = [
    "DATASETS",
    "FETCHABLE",
    "Contents",
    "Dataset",
    "DatasetCheck",
    "DatasetRow",
    "Decoded",
    "EncodedSource",
    "Encoding",
    "Fit",
    "Form",
    "Found",
    "ImageSource",
    "Note",
    "PixelSource",
    "Prepared",
    "Split",
    "SplitCheck",
    "UnreadableImage",
    "announce_untested",
    "channel_statistics",
    "check_dataset",
    "class_titles",
    "decode_examples",
    "decode_image",
    "encode_examples",
    "encode_pixels",
    "fetch",
    "is_imagenet",
    "list_datasets",
    "load_split",
    "open_dataset",
    "open_or_published",
    "picture_digests",
    "prepare",
    "real_mask",
    "require_split",
    "require_trainable",
    "search_places",
    "votes_of",
]
