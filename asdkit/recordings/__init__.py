"""Recordings: what a clip is, how files are found, read and refused, and the data of the DCASE challenge.

`clips` reads names and groups, `reading` samples, `intake` a person's own folders (pairs aligned by `alignment`),
`training_set` divides what a machine is fitted on; `challenge` has the challenge's catalogue, fetches (with `download`) and
checks its data; `files` writes files whole. Exported here is what other rooms use.
"""

from asdkit.recordings.alignment import align
from asdkit.recordings.challenge import DATASETS, ZENODO, fetch, validate
from asdkit.recordings.clips import Clip, Machine, index_data, index_machine, parse_name, wav_files
from asdkit.recordings.files import InputError
from asdkit.recordings.intake import check_order, read_folder, segments, training_record
from asdkit.recordings.reading import SAMPLE_RATE, Reading, far_of, is_far, near_of, read_clip
from asdkit.recordings.training_set import TrainingSet

__all__ = [
    "DATASETS", "SAMPLE_RATE", "ZENODO", "Clip", "InputError", "Machine", "Reading", "TrainingSet", "align", "check_order",
    "far_of", "fetch", "index_data", "index_machine", "is_far", "near_of", "parse_name", "read_clip", "read_folder", "segments",
    "training_record", "validate", "wav_files",
]  # fmt: skip
