"""What the notebooks let one hear, move and click: what a setting shows, and that moving a widget shows it."""

import numpy as np
import pandas as pd
import pytest

from asdkit.apps import ClipMap, fault_sliders, sounds, threshold_slider
from asdkit.recordings import index_machine
from asdkit.simulate import Scene


def test_players_are_named_and_keep_their_levels_on_one_scale():
    tone = np.sin(np.arange(1600) / 5)
    html = sounds({"loud <x>": tone, "quiet": 0.1 * tone}, one_scale=True).data
    assert html.count("<audio") == 2 and "loud &lt;x&gt;" in html
    assert html.split("src=")[1].split("'")[1] != html.split("src=")[2].split("'")[1]


def test_the_fault_sliders_show_another_sound_when_one_moves():
    box = fault_sliders(Scene("fan", fault="squeal", seconds=1.0), severity=0.5)
    severity, snr, shown = box.children
    first = shown.value
    assert box._repr_mimebundle_()["text/html"] == first  # on a page without a kernel
    severity.value = 1.0
    assert "severity 1.00" in shown.value and shown.value.count("<audio") == 2 and "data:image/png" in shown.value
    louder = shown.value
    snr.value = 10.0
    assert len({first, louder, shown.value}) == 3


def test_the_threshold_slider_counts_alarms():
    scores, labels = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 0, 1, 1])
    box = threshold_slider(scores, labels, np.array(["source", "target", "source", "target"]), 2.5)
    slider, shown = box.children
    assert "0 of 1 healthy source clips, 0 of 1 healthy target clips, 2 of 2 faulty clips" in shown.value
    slider.value = 1.5
    assert "0 of 1 healthy source clips, 1 of 1 healthy target clips, 2 of 2 faulty clips" in shown.value
    assert threshold_slider(scores, labels, np.full(4, "source"), None).children[0].value == 2.5


@pytest.mark.filterwarnings("ignore:.*umap.*", "ignore::UserWarning")
def test_a_clip_of_the_map_is_named_and_heard_when_it_is_clicked(tiny_data):
    machine = index_machine(tiny_data / "dev_data" / "raw" / "pump")
    clips = [*machine.train, *machine.test]
    table = pd.DataFrame(
        {"file": [c.name for c in clips], "what": ["healthy", "faulty"] * (len(clips) // 2) + ["x"] * (len(clips) % 2)}
    )
    shown = ClipMap(np.random.default_rng(0).normal(size=(len(clips), 5)), clips, table, len(machine.train), "what")
    names = [name for trace in shown.figure.data for name in trace.hovertext]
    assert sorted(names) == sorted(table["file"]) and {t.name for t in shown.figure.data} == set(table["what"])
    assert len({t.marker.symbol for t in shown.figure.data}) > 1 and "what" in shown.figure.data[0].hovertemplate
    shown.play(names[0])
    assert names[0] in shown.sound.value and "<audio" in shown.sound.value
