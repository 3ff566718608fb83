"""Who is told what: signals as wishes, and the voice of one process among several."""

import os
import signal
import sys

import pytest

from useg import console

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@posix
def test_a_signal_handed_on_by_a_launcher_is_the_same_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    with console.training_watcher() as watcher:
        assert not watcher.should_stop()
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert watcher.should_stop()
        monkeypatch.setattr(console, "SAME_WISH_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()  # never reached: the order comes first
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("rank", "heard"), [("0", True), ("1", False)])
def test_only_the_first_process_speaks(
    rank: str, heard: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(console, "_console", None)
    console.say("hello")
    console._console = None
    assert ("hello" in capsys.readouterr().err) == heard
