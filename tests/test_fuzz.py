"""Whatever a file holds, it ends in a result or in an InputError of one line: mutated recordings, mutated models."""

import copy
import json
import os
import resource
import shutil
import struct
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
import soundfile

import asdkit
from asdkit.recordings import InputError, Reading
from asdkit.storage import checksums

RNG = np.random.default_rng(0)
READINGS = (Reading(), Reading(near_only=True), Reading(resample=True), Reading(near=1), Reading(pairs=True))
HUGE = (0, 1, 2, 3, 7, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF0, 44100, 192000)


def wav(subtype="PCM_16", n=400, channels=2) -> bytes:
    tag, bits = {"PCM_16": (1, 16), "FLOAT": (3, 32), "PCM_24": (1, 24)}[subtype]
    data = RNG.bytes(n * channels * bits // 8) if tag == 1 else (0.1 * RNG.normal(size=n * channels)).astype("<f4").tobytes()
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, 16000, 16000 * frame, frame, bits)
    return riff([(b"fmt ", form), (b"LIST", b"INFOISFT\x06\0\0\0asdkit"), (b"data", data), (b"junk", b"\0" * 10)])


def riff(chunks) -> bytes:
    body = b"WAVE" + b"".join(name + struct.pack("<I", len(content)) + content for name, content in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def chunks_of(content: bytes) -> list[tuple[bytes, bytes]]:
    at, found = 12, []
    while at + 8 <= len(content):
        size = struct.unpack_from("<I", content, at + 4)[0]
        found.append((content[at : at + 4], content[at + 8 : at + 8 + size]))
        at += 8 + size
    return found


def mutants(n: int, seed: int):
    """Mutated WAV files: bits of headers flipped, fields and sizes lied about, chunks in other order, cut short, random."""
    rng = np.random.default_rng(seed)
    whole = [wav(s, channels=c) for s in ("PCM_16", "FLOAT", "PCM_24") for c in (1, 2)]
    yield from (content[:i] for content in whole[:4] for i in range(90))  # cut at every byte of the header
    for content in (b"", b"RIFF", b"RIFF\xff\xff\xff\xffWAVE", b"RF64" + whole[1][4:], whole[1] * 2, b"fLaC" + whole[1]):
        yield content
    for i in range(n):
        content = bytearray(whole[rng.integers(len(whole))])
        kind = i % 7
        if kind == 0:
            for at in rng.integers(0, 80, rng.integers(1, 9)):
                content[at] ^= 1 << rng.integers(8)
        elif kind == 1:  # a field of the format
            at, size = ((20, 2), (22, 2), (24, 4), (28, 4), (32, 2), (34, 2))[rng.integers(6)]
            content[at : at + size] = struct.pack("<I", HUGE[rng.integers(len(HUGE))])[:size]
        elif kind == 2:  # a size
            name = (b"RIFF", b"fmt ", b"LIST", b"data", b"junk")[rng.integers(5)]
            at = content.index(name) + 4
            content[at : at + 4] = struct.pack("<I", HUGE[rng.integers(len(HUGE))])
        elif kind == 3:
            chunks = chunks_of(bytes(content))
            content = riff([chunks[j] for j in rng.integers(0, len(chunks), rng.integers(1, 6))])
        elif kind == 4:
            content = content[: rng.integers(len(content))] + rng.bytes(rng.integers(20))
        elif kind == 5:  # a body of any floats
            content = bytearray(whole[3])
            at = content.index(b"data") + 8 + 4 * rng.integers(200)
            content[at : at + 4] = struct.pack("<f", (np.nan, np.inf, -np.inf, 3e38, -1e30, 1e-45)[rng.integers(6)])
        else:
            content = (b"", b"RIFF", bytes(content[:36]))[rng.integers(3)] + rng.bytes(rng.integers(300))
        yield bytes(content)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_every_recording_is_scored_or_refused(tmp_path, brief_detector):
    path = tmp_path / "a_near.wav"
    soundfile.write(tmp_path / "a_far.wav", 0.1 * RNG.normal(size=4000), 16000)
    models, before, n_scored, slowest = [replace(brief_detector, reading=r) for r in READINGS], peak(), 0, 0.0
    for i, content in enumerate(mutants(2400, seed=1)):
        path.write_bytes(content)
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # silence, and too short
            result = models[i % len(models)].score_file(path)
        slowest, n_scored = max(slowest, time.process_time() - started), n_scored + (not result.reason)
        assert np.isfinite(result.score) if not result.reason else result.score is None, content
        assert "\n" not in result.reason and "failed (" not in result.reason, (result.reason, content)
    assert i > 2500 and 150 < n_scored < i - 500
    assert slowest < 3 and peak() - before < 200_000


@pytest.fixture
def stored(brief_detector, tmp_path):
    return brief_detector.save(tmp_path / "model")


def loads(folder) -> bool:
    try:
        return isinstance(asdkit.load(folder), asdkit.Detector)
    except InputError as error:
        assert "\n" not in str(error) and str(folder) in str(error) and len(str(error)) < 1000
        return False


def test_no_bit_of_a_stored_model_can_change(stored, tmp_path):
    rng = np.random.default_rng(2)
    for i in range(150):
        broken = tmp_path / "broken"
        shutil.copytree(stored, broken, dirs_exist_ok=True)
        path = broken / ("model.json", "tensors.safetensors")[i % 2]
        content = bytearray(path.read_bytes())
        if i % 5 == 0:
            content = content[: rng.integers(len(content))]
        else:
            content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        if loads(broken):  # white space
            assert json.loads(path.read_text()) == json.loads((stored / path.name).read_text())


ODD = (None, True, -1, 0, 10**9, 10**30, 1e308, float("nan"), "", "near", [], [1], {}, {"tensor": "x"}, {"class": "Popen"},
       {"network": "MSM", "arguments": {"width": 10**9}, "weights": {}}, {"dict": {"a": 1}})  # fmt: skip


def places(tree, place=()):
    yield place
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in items:
        yield from places(child, (*place, key))


def put(tree, place, value):
    """The tree with another value at a place; without anything there where the value is ..."""
    for key in place[:-1]:
        tree = tree[key]
    if value is ...:
        del tree[place[-1]]
    else:
        tree[place[-1]] = value


def test_a_model_with_checksums_made_by_hand_fits_together_or_is_refused(stored, tmp_path):
    """Checksums notice accidents; types, shapes and a trial notice what was meant."""
    rng, before = np.random.default_rng(3), peak()
    head, tensors = json.loads((stored / "model.json").read_text()), (stored / "tensors.safetensors").read_bytes()
    where = [p for p in places(head) if p and p[0] in ("tree", "config", "seed", "about")]
    n_loaded = 0
    for i in range(300):
        changed, content = copy.deepcopy(head), bytearray(tensors)
        if i % 6 == 0:
            for at in rng.integers(0, (200, len(content))[i % 4 // 2], 3):
                content[at] ^= 1 << rng.integers(8)
        else:
            put(changed, where[rng.integers(len(where))], (..., *ODD)[rng.integers(len(ODD) + 1)])
        changed["checksums"] = checksums(changed, bytes(content))
        (stored / "model.json").write_text(json.dumps(changed))
        (stored / "tensors.safetensors").write_bytes(content)
        n_loaded += loads(stored)
    assert 3 < n_loaded < 150 and peak() - before < 300_000
    for text in ("[" * 100_000, '{"a":' * 100_000, json.dumps({"asdkit": "0.1.0", "tree": "x" * 10**6}), "1" * 5000):
        (stored / "model.json").write_text(text)  # as deep as a well
        assert not loads(stored)
    (stored / "model.json").unlink()
    os.mkfifo(stored / "model.json")
    assert not loads(stored)
