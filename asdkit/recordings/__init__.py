"""Recordings: what a clip is, how files are found, read and refused, and the data of the DCASE challenge.

`clips` reads names and groups, `reading` samples, `intake` a person's own folders (pairs aligned by `alignment`);
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
from asdkit.recordings.reading import InputError, Reading, read_clip

__all__ = [
    "LABELS", "SAMPLE_RATE", "TABLES", "Clip", "InputError", "Machine", "Reading", "index_data", "index_folder",
    "index_machine", "machine_folders", "parse_name", "read_clip", "read_recordings", "wav_files",
]  # fmt: skip
