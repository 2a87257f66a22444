"""What several tests share: the folder of real recordings, and the rule that on CI it must be there."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the workers of pytest -n share the cores


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real two-channel recordings, ``<machine>/{train,test}``, named by ASDKIT_REAL_DATA."""
    named = os.environ.get("ASDKIT_REAL_DATA")
    if not named:
        pytest.skip("ASDKIT_REAL_DATA is not set; expected the folder of real recordings, <machine>/{train,test}")
    if not Path(named).is_dir():
        pytest.skip(f"ASDKIT_REAL_DATA: found no folder {named}; expected real recordings, <machine>/{{train,test}}")
    return Path(named).resolve()


def pytest_collection_modifyitems(items):
    """Mark `real` whatever asks for the real recordings."""
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker("real")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """With ASDKIT_REQUIRE_REAL=1 a test marked `real` that skips has failed."""
    report = yield
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if skipped and item.get_closest_marker("real") and os.environ.get("ASDKIT_REQUIRE_REAL") == "1":
        report.outcome, report.longrepr = "failed", f"ASDKIT_REQUIRE_REAL=1 and skipped: {report.longrepr[-1]}"
    return report
