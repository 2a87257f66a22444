"""The tuning notebook in a real browser: JupyterLab on loopback, cells run, the slider and the switch used by keyboard."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from asdkit.experiments import ALPHAS, position

ROOT = Path(__file__).parent.parent
NOTEBOOK = "09_tuning_the_scalar.ipynb"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-dev-shm-usage"]
PLAIN = {
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},  # cells out of sight are kept in the page
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
PATIENCE = float(os.environ.get("ASDKIT_BROWSER_SECONDS", 120))  # for one step; on an idle machine all take half a minute
OWN = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython"}
OWN |= {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
STEPS = 2  # of the slider: far enough for a clip to change its bin
WINDOWS = ((1366, 768), (1920, 1080))
SUM = """async () => {
    const bytes = new Uint8Array(await (await fetch(document.querySelector('.asdkit-panel audio').src)).arrayBuffer());
    return bytes.reduce((sum, byte, i) => (31 * sum + byte) % 1000003, bytes.length);
}"""
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chromium() -> str:
    """The Chromium of this machine; none is ever downloaded."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    return found or pytest.skip(f"found no browser; expected {', '.join(BROWSERS)} on the PATH")


@pytest.fixture(scope="module")
def address(chromium, tmp_path_factory):
    """The notebook's quick profile on a JupyterLab whose kernel imports this checkout and knows nothing of the user's."""
    folder, own = tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("jupyter")
    notebook = json.loads((ROOT / "notebooks" / NOTEBOOK).read_text())
    (cell,) = [c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", [])]
    cell["source"] += ["\n"] + [f"{name} = {value!r}\n" for name, value in cell["metadata"]["nbmake"]["mock"].items()]
    (folder / NOTEBOOK).write_text(json.dumps(notebook))
    for plugin, settings in PLAIN.items():
        path = own / "settings" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(settings))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port, token = s.getsockname()[1], secrets.token_hex(16)
    options = [
        f"--ServerApp.root_dir={folder}", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", "--ServerApp.open_browser=False",
    ]  # fmt: skip
    command = [sys.executable, "-m", "jupyterlab", "--allow-root", "--expose-app-in-browser", *options]
    env = os.environ | {name: str(own / place) for name, place in OWN.items()}
    env |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    base = f"http://127.0.0.1:{port}"
    with (own / "log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(f"{base}/api?token={token}", server, own / "log")
        yield f"{base}/lab/tree/{NOTEBOOK}?token={token}"
    finally:
        server.terminate()
        server.wait(20)


def wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        try:
            with urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not answer within {PATIENCE} s:\n{log.read_text()[-2000:]}")


@pytest.fixture
def page(chromium, address):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport=dict(zip(("width", "height"), WINDOWS[0])), device_scale_factor=1.25)
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(address)
        yield page
        browser.close()


def seen(page) -> dict:
    parts = {
        "curve": ".subplot.xy .scatterlayer", "bars": ".barlayer", "map": ".subplot.x2y2 .scatterlayer",
        "spectrogram": ".subplot.x3y3 .heatmaplayer", "threshold": ".subplot.x4y4 .scatterlayer",
    }  # fmt: skip
    html = {name: page.locator(f".js-plotly-plot {where}").inner_html() for name, where in parts.items()}
    numbers = page.locator(".asdkit-numbers").inner_text()
    return html | dict(alpha=page.locator(".widget-readout").first.inner_text(), numbers=numbers, sound=page.evaluate(SUM))


IDLE = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"


def settled(page) -> dict:
    """What is seen once the kernel rests and a second look finds the same: the figure is drawn after the numbers."""
    looks = [None]
    while len(looks) < 2 or looks[-1] != looks[-2]:
        page.wait_for_function(IDLE)
        page.wait_for_timeout(700)
        looks.append(seen(page))
    return looks[-1]


def test_the_panel_is_used_by_keyboard_and_all_of_it_follows(page):
    page.wait_for_function(IDLE)
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.locator(".js-plotly-plot .barlayer path").first.wait_for(state="attached")  # an empty bin is never visible
    page.wait_for_function(IDLE)
    assert not page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr'] .ansi-red-fg").count()
    panel, handle = page.locator(".asdkit-panel"), page.locator(".asdkit-panel .noUi-handle")
    handle.focus()
    before = settled(page)
    begun = position(float(before["alpha"]))
    key, way = ("ArrowRight", 1) if begun < STEPS else ("ArrowLeft", -1)
    for _ in range(STEPS):
        handle.press(key)
    expected = ALPHAS[begun + way * STEPS]
    there = f"at alpha {expected:.2f}"
    page.wait_for_function("there => document.querySelector('.asdkit-numbers').innerText.includes(there)", arg=there)
    after = settled(page)
    assert float(after["alpha"]) == expected and f"at alpha {after['alpha']}" in after["numbers"]
    assert {name for name in before if before[name] != after[name]} == before.keys()

    page.locator(".asdkit-panel button", has_text="masked model alone").press("Enter")
    page.wait_for_function("n => document.querySelector('.asdkit-numbers').innerText != n", arg=after["numbers"])
    alone = settled(page)
    changed = {name for name in after if after[name] != alone[name]}
    assert {"numbers", "curve", "bars", "threshold", "map"} <= changed and not {"alpha", "sound"} & changed
    page.locator(".asdkit-panel button", has_text="stereo").press("Enter")
    page.wait_for_function(f"sum => ({SUM})().then(now => now !== sum)", arg=alone["sound"])

    for width, height in WINDOWS:  # the whole panel is in sight at once, and nothing in it is cut off
        page.set_viewport_size(dict(width=width, height=height))
        page.wait_for_timeout(500)
        panel.evaluate("x => x.scrollIntoView({block: 'center'})")
        box, cell = panel.bounding_box(), page.locator(".jp-NotebookPanel .jp-WindowedPanel-outer").first.bounding_box()
        assert cell["y"] <= box["y"] and box["y"] + box["height"] <= cell["y"] + cell["height"]
        assert cell["x"] <= box["x"] and box["width"] <= 930 and box["x"] + box["width"] <= cell["x"] + cell["width"]
        assert not panel.evaluate("x => [...x.querySelectorAll('.widget-hbox')].some(e => e.scrollWidth > e.clientWidth + 1)")
