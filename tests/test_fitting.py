"""The memo that fits share."""

from asdkit.fitting import Memo


def test_memo_computes_once_and_forgets():
    memo, calls = Memo(), []
    for _ in range(2):
        assert memo(("spectra", 1), lambda: calls.append(1) or 5) == 5
        memo(("block", 1), lambda: calls.append(2))
    assert calls == [1, 2] and memo.saved == 0  # a system pays once for what it computed itself
    memo.values["spectra", 1] = 5, 2.5
    memo.new_bill()
    for _ in range(3):
        memo(("spectra", 1), lambda: 0)
    assert memo.saved == 2.5  # and once for what it was spared, however often it asked
    memo.forget_all_but("spectra")
    assert list(memo.values) == [("spectra", 1)]
