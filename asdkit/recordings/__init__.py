"""Recordings: what a clip is, how files are found, read and refused, and the data of the DCASE challenge.

`clips` reads names and groups, `reading` samples, `intake` a person's own folders (pairs aligned by `alignment`),
`training_set` what a machine is fitted on;
`datasets`, `download`, `validation`, `submission` and `submission_check` are about the challenge; `files` writes files whole.
"""

from asdkit.recordings.clips import (
    LABELS,
    SAMPLE_RATE,
    TABLES,
    Clip,
    Machine,
    index_data,
    index_folder,
    index_machine,
    machine_folders,
    parse_name,
    read_recordings,
    wav_files,
)
from asdkit.recordings.intake import (
    align,
    check_order,
    holds_pairs,
    index_recordings,
    read_folder,
    segments,
    training_record,
)
from asdkit.recordings.reading import InputError, Reading, far_of, is_far, near_of, read_clip
from asdkit.recordings.training_set import TrainingSet, one_domain_at_least, own_recordings

__all__ = [
    "LABELS", "SAMPLE_RATE", "TABLES", "Clip", "InputError", "Machine", "Reading", "TrainingSet", "align", "check_order",
    "far_of", "holds_pairs", "index_data", "index_folder", "index_machine", "index_recordings", "is_far", "machine_folders",
    "near_of", "one_domain_at_least", "own_recordings", "parse_name", "read_clip", "read_folder", "read_recordings", "segments",
    "training_record", "wav_files",
]  # fmt: skip
