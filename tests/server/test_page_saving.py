"""Labels in the browser are saved soon, once, in order, and never over what another wrote."""

import base64
import gzip
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from labels_bench import opened, run


@pytest.fixture(scope="module")
def page(browser: Any) -> Iterator[Any]:
    """One for all tests: they leave nothing behind."""
    with opened(browser) as page:
        yield page


@pytest.fixture
def own(browser: Any) -> Iterator[Any]:
    """A page of one's own, whose clock stands still until it is moved."""
    with opened(browser) as page:
        page.clock.install()
        page.clock.pause_at(time.time() + 3600)
        yield page


def until(page: Any, condition: str) -> None:
    """Packing takes real time, whatever the page's clock says."""
    for _ in range(400):
        if page.evaluate(condition):
            return
        time.sleep(0.01)
    raise AssertionError(f"never came true: {condition}")


@pytest.mark.parametrize("length", [1, 2**17, 2**17 + 1, 777_777])
def test_labels_are_packed_as_they_were_when_it_began(page: Any, length: int) -> None:
    packed = run(
        page,
        """
        const data = Uint16Array.from({ length: a }, (_, i) => (i * i) % 40503);
        const packing = h.gzip(data);
        data.fill(1);
        return h.bytes(new Uint8Array(await (await packing).arrayBuffer()));
        """,
        length,
    )
    unpacked = np.frombuffer(gzip.decompress(base64.b64decode(packed)), "<u2")
    np.testing.assert_array_equal(unpacked, np.arange(length, dtype=np.uint64) ** 2 % 40503)


def test_a_draft_goes_out_a_second_after_the_last_change(own: Any) -> None:
    run(own, "window.s = h.savings();")
    for _ in range(4):
        own.evaluate("s.change(1 + s.api.calls.length + performance.now() % 97)")
        own.clock.run_for(900)
    assert own.evaluate("[s.api.calls.length, s.saver.state, s.saver.dirty]") == [0, "unsaved", True]
    own.clock.run_for(150)
    until(own, "s.saver.state === 'saved'")
    assert own.evaluate("[s.api.calls.length, s.saver.dirty, s.saved()]") == [1, False, True]
    assert own.evaluate("s.states") == ["unsaved", "saving", "saved"]
    method, path, headers = own.evaluate("s.api.calls[0]")
    assert (method, path) == ("PUT", "/api/images/a%20cell%2Fb/draft")
    assert headers["If-Match"] == '"0"'
    assert headers["Content-Encoding"] == "gzip"
    assert headers["X-Useg-Shape"] == "2,12,20"
    assert headers["X-Useg-Dtype"] == "uint8"
    own.clock.run_for(60_000)
    assert own.evaluate("s.api.calls.length") == 1


def test_a_server_that_is_away_is_tried_again_less_and_less(own: Any) -> None:
    run(own, "window.s = h.savings(); s.api.trouble = () => 'away'; s.change(3);")
    tries = []
    for _ in range(8):
        own.clock.run_for(5000)
        until(own, "s.saver.state === 'offline'")
        tries.append(own.evaluate("s.api.calls.length"))
    assert tries[0] >= 1
    assert tries[-1] - tries[-4] <= 2 < tries[-1]
    own.evaluate("s.api.trouble = () => null; s.api.dispatchEvent(new Event('back'))")
    until(own, "s.saver.state === 'saved'")
    assert own.evaluate("s.saved()")


def test_whatever_goes_wrong_the_last_labels_arrive_once_and_in_order(page: Any) -> None:
    """Changes, flushes and keeping at random while requests fail before or after they are done."""
    found = run(
        page,
        """
        const next = h.random(13);
        const { data, api, saver, change, saved } = h.savings();
        const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
        const worst = ["away", "lost", 503, 429];
        api.trouble = () => (next() < 0.5 ? worst[Math.floor(next() * worst.length)] : null);
        for (let k = 0; k < 150; k++) {
            api.slow = Math.floor(3 * next());
            if (next() < 0.7) change(1 + Math.floor(250 * next()));
            if (next() < 0.5) saver.flush();
            if (next() < 0.3) await pause(3 * next());
        }
        api.trouble = () => null;
        await saver.flush();
        await saver.flush();
        const result = [saved(), saver.state, saver.version === api.version, api.most, api.refused];
        saver.close();
        return [...result, api.calls.length];
        """,
    )
    assert found[:5] == [True, "saved", True, 1, 0]
    assert found[5] > 20


def test_a_newer_version_of_another_is_not_written_over_unless_asked(page: Any) -> None:
    found = run(
        page,
        """
        const { api, saver, states, change, saved } = h.savings();
        const theirs = new Uint8Array(480).fill(9);
        change(1);
        await saver.flush();
        api.otherWrites(theirs);
        change(2);
        const first = await saver.flush();
        change(3);
        const later = await saver.flush();
        const kept = await saver.keep().then(() => null, (error) => error.status);
        const safe = h.equal(api.labels, theirs) && saver.dirty;
        const asked = await saver.keepMine();
        saver.close();
        return { first, later, kept, safe, asked, saved: saved(), states, calls: api.calls.length };
        """,
    )
    assert not found["first"]
    assert not found["later"]
    assert found["kept"] == 412
    assert found["safe"]
    assert found["asked"]
    assert found["saved"]
    assert found["states"][:5] == ["unsaved", "saving", "saved", "unsaved", "saving"]
    assert found["states"][5:] == ["conflict", "saving", "conflict", "unsaved", "saving", "saved"]
    assert found["calls"] == 4


def test_keep_and_discard_wait_for_the_draft_and_know_its_version(page: Any) -> None:
    found = run(
        page,
        """
        const { data, api, saver, change } = h.savings();
        api.slow = 30;
        change(1);
        const draft = saver.flush();
        const kept = saver.keep(); // while the draft is under way
        while (api.calls.length < 2) await new Promise((done) => setTimeout(done, 1));
        change(2); // while the mask is
        await draft;
        const info = await kept;
        const whole = [info.version, api.kept.includes(1), saver.dirty, saver.state];
        await saver.flush();
        const after = [api.labels.includes(2), api.kept.includes(2)];
        const gone = await saver.discard();
        const result = { whole, after, gone: [gone.version === saver.version, api.labels, saver.dirty], most: api.most,
            calls: api.calls.map(([method, path]) => `${method} ${path.split("/").pop()}`), refused: api.refused };
        api.trouble = () => 400;
        change(5);
        await saver.flush();
        result.error = [saver.state, saver.message, saver.dirty];
        result.thrown = await saver.keep().then(() => null, (error) => error.message);
        api.trouble = () => null;
        change(6);
        result.end = [await saver.flush(), saver.state];
        saver.close();
        return result;
        """,
    )
    assert found["whole"][1:] == [True, True, "unsaved"]
    assert found["after"] == [True, False]
    assert found["gone"] == [True, None, False]
    assert found["calls"] == ["PUT draft", "PUT mask", "PUT draft", "DELETE draft"]
    assert found["most"] == 1
    assert found["refused"] == 0
    assert found["error"] == ["error", "status 400", True]
    assert found["thrown"] == "status 400"
    assert found["end"] == [True, "saved"]


def test_what_arrived_without_an_answer_does_not_hinder_keeping(page: Any) -> None:
    found = run(
        page,
        """
        const { data, api, saver, change } = h.savings();
        api.trouble = () => "lost";
        change(1);
        const arrived = await saver.flush();
        api.trouble = () => null;
        change(2);
        await saver.keep();
        saver.close();
        return [arrived, saver.state, saver.dirty, h.equal(api.kept, data), api.refused];
        """,
    )
    assert found == [False, "saved", False, True, 0]


def test_leaving_the_page_saves_at_once_and_asks_when_it_could_not(page: Any) -> None:
    found = run(
        page,
        """
        const { api, saver, change, saved } = h.savings();
        const asks = () => !window.dispatchEvent(new Event("beforeunload", { cancelable: true }));
        const asked = [asks()];
        change(1);
        asked.push(asks());
        Object.defineProperty(document, "hidden", { value: true, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
        while (saver.state !== "saved") await new Promise((done) => setTimeout(done, 1));
        delete document.hidden;
        asked.push(asks());
        change(2);
        saver.close();
        asked.push(asks());
        document.dispatchEvent(new Event("visibilitychange"));
        return { asked, saved: api.calls.length };
        """,
    )
    assert found["asked"] == [False, True, False, False]
    assert found["saved"] == 1
