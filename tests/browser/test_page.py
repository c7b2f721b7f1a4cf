# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""The page of cp-node in headless Chromium: one browser with a tab a user."""

import asyncio

import pytest

from harness import clients, connect, eventually, on_loop


class Page:
    """One tab."""

    def __init__(self, driver, url):
        self.driver = driver
        driver.switch_to.new_window("tab")
        self.tab = driver.current_window_handle
        driver.get(url)

    def __getitem__(self, element_id):
        """An element by its id."""
        self.driver.switch_to.window(self.tab)
        return self.driver.find_element("id", element_id)

    def script(self, code, *args):
        self.driver.switch_to.window(self.tab)
        return self.driver.execute_script(code, *args)

    def state(self):
        return self["state"].text

    def await_open(self, node=None):
        eventually(lambda: self.state() == "open" and
                   self["node"].text not in ("", "–"))
        assert node in (None, self["node"].text)

    def send(self, to, text):
        self["to"].clear()
        self["to"].send_keys(to)
        self["text"].send_keys(text + "\n")

    def log(self):
        return self["log"].get_attribute("textContent")

    def await_log(self, text):
        eventually(lambda: text in self.log())

    def bodies(self, kind):
        """The texts of the log's entries of a kind: sent, received, note."""
        return self.script(
            "return Array.from(document.querySelectorAll("
            "`#log .${arguments[0]} .body`), e => e.textContent)", kind)

    def errors(self):
        self.driver.switch_to.window(self.tab)
        return [entry for entry in self.driver.get_log("browser")
                if entry["level"] == "SEVERE"]


@pytest.fixture
def redis(cluster):
    return cluster.redis()


@pytest.fixture
def nodes(cluster, redis):
    return cluster.nodes(2, redis, "--receipts")


@pytest.fixture
def driver(browser):
    return browser()


@pytest.fixture
def alice(driver, nodes):
    page = Page(driver, f"http://{nodes[0].address}/#alice")
    page.await_open("n1")
    return page


@pytest.fixture
def bob(driver, nodes):
    page = Page(driver, f"http://{nodes[1].address}/#bob")
    page.await_open("n2")
    return page


def test_connect_by_the_form(driver, nodes):
    page = Page(driver, f"http://{nodes[0].address}/")
    assert page.state() == "closed"
    assert page["connect"].text == "Connect"
    assert not page["send"].is_enabled()
    assert page.script("return document.activeElement.id") == "user"
    page["user"].send_keys("alice")
    page["connect"].click()
    page.await_open("n1")
    assert page["cluster"].text == "up"
    assert page["send"].is_enabled()
    assert page.script("return location.hash") == "#alice"
    page["connect"].click()
    assert page.state() == "closed" and page["node"].text == "–"


def test_two_users_on_two_nodes(alice, bob):
    alice.send("bob", "hello, Bob")
    eventually(lambda: bob.bodies("received") == ["hello, Bob"])
    alice.await_log("1 node")  # reached, or unsure in the first seconds
    bob.send("alice", "größer als ASCII ☃")
    eventually(lambda: alice.bodies("received") == ["größer als ASCII ☃"])
    assert alice.bodies("sent") == ["hello, Bob"]
    assert alice.errors() == [] and bob.errors() == []


def test_everyone(alice, bob):
    alice.send("*", "to all")
    for page in (alice, bob):
        eventually(lambda: page.bodies("received") == ["to all"])


def test_offline_is_shown_with_the_message(alice):
    def offline():
        alice.send("nobody", "anybody?")
        return "offline" in alice.log()

    eventually(offline)


def test_markup_stays_text(alice, bob):
    evil = "<img src=x onerror=\"document.title='evil'\"><b>bold</b>"
    alice.send("bob", evil)
    eventually(lambda: bob.bodies("received") == [evil])
    for page in (alice, bob):
        assert page.script(
            "return document.querySelector('#log img, #log b')") is None
        assert "evil" not in page.driver.title


def test_names_are_checked(driver, nodes):
    page = Page(driver, f"http://{nodes[0].address}/")
    for name in ("", "two words", "}brace", "*", "u" * 256):
        page["user"].clear()
        page["user"].send_keys(name + "\n")
        assert page["user-error"].is_displayed()
        assert page.state() == "closed"
    page["user"].clear()
    page["user"].send_keys("alice\n")
    page.await_open()
    assert not page["user-error"].is_displayed()


def test_names_that_need_escaping(driver, nodes, redis):
    name = "Zoë&x=1#%41+/?"
    page = Page(driver, f"http://{nodes[0].address}/")
    page["user"].send_keys(name + "\n")
    page.await_open()
    assert redis.cli("PUBLISH", f"cp:u:{{{name}}}", "found") == ["1"]
    eventually(lambda: page.bodies("received") == ["found"])
    page.driver.refresh()  # the name is in the address now
    page.await_open()
    assert page["user"].get_attribute("value") == name


@on_loop
async def test_binary_is_shown_as_bytes(alice, nodes):
    async with connect(nodes[1].url("carol")) as carol:
        await carol.send(b"alice \0\x00\xff")
    eventually(lambda: alice.bodies("received") == ["2 bytes: 00 ff"])


@on_loop
async def test_receipt_like_message_is_a_message(alice, nodes):
    """What looks like a receipt is none as long as nothing waits for one."""
    async with connect(nodes[1].url("carol")) as carol:
        await carol.send("alice ok bob nodes=7")
    eventually(lambda: alice.bodies("received") == ["ok bob nodes=7"])


def test_node_goes_and_comes_back(cluster, alice, nodes, redis):
    address = nodes[0].address
    nodes[0].stop()
    alice.await_log("The connection ended (1001")
    eventually(lambda: alice.state() == "waiting")
    alice.await_log("Trying again in")
    eventually(lambda: "(attempt 3)" in alice.log())
    assert alice["node"].text == "–" and not alice["send"].is_enabled()
    cluster.node(redis, "--receipts", "--listen", address, name="n9")
    alice.script("hurry()")  # what "Try now" does, if it still waits
    alice.await_open("n9")
    alice.send("alice", "back again")
    eventually(lambda: alice.bodies("received") == ["back again"])


def test_node_is_killed_and_nginx_has_others(cluster, driver, redis):
    nodes = cluster.nodes(3, redis, "--receipts")
    nginx = cluster.nginx(nodes)
    page = Page(driver, f"http://{nginx.address}/#alice")
    page.await_open()
    first = page["node"].text
    next(node for node in nodes if node.name == first).kill()
    eventually(lambda: page.state() == "open" and
               page["node"].text not in ("–", first))
    page.send("alice", "from the other node")
    eventually(lambda: page.bodies("received") == ["from the other node"])


def test_waiting_can_be_stopped(alice, nodes):
    nodes[0].kill()
    # Late enough for a pause that a click can hit.
    eventually(lambda: alice.state() == "waiting" and
               "(attempt 5)" in alice.log())
    eventually(lambda: alice.state() == "closed" or alice["connect"].click())
    assert alice["connect"].text == "Connect"
    assert alice["user"].get_attribute("readOnly") is None


def test_cluster_light_follows_redis(alice, redis):
    redis.kill()
    eventually(lambda: alice["cluster"].text == "down")
    assert alice.state() == "open"
    redis.restart()
    eventually(lambda: alice["cluster"].text == "up")


@on_loop
async def test_one_tab_too_many_stays_closed(alice, nodes):
    """Closed with 4008; to come back would throw out the next one."""
    async with clients(*[nodes[0].url("alice")] * 32):
        await asyncio.get_running_loop().run_in_executor(
            None, lambda: eventually(lambda: alice.state() == "closed"))
    alice.await_log("4008")


def test_back_off_is_exponential_with_full_jitter(driver, nodes):
    """By the page's own functions, with the randomness taken out."""
    page = Page(driver, f"http://{nodes[0].address}/")
    pauses = page.script("""
        const random = Math.random, pauses = [];
        Math.random = () => 1;
        for (attempt = 0; attempt < 9;) {
          const before = Date.now();
          wait('');
          pauses.push(retryAt - before);
          clearTimers();
        }
        Math.random = () => 0;
        const before = Date.now();
        wait('');
        pauses.push(retryAt - before);
        clearTimers();
        Math.random = random;
        showState('closed');
        return pauses;""")
    expected = [500, 1000, 2000, 4000, 8000, 16000, 20000, 20000, 20000, 0]
    for pause, wanted in zip(pauses, expected, strict=True):
        assert wanted <= pause < wanted + 500


def test_narrow_window_has_no_sideways_scroll(alice):
    alice.driver.set_window_size(360, 700)
    alice.send("bob", "w" * 300)
    eventually(lambda: len(alice.bodies("sent")) == 1)
    assert alice.script("return document.documentElement.scrollWidth <= "
                        "innerWidth")


def test_labels_and_live_regions(alice):
    unlabelled = alice.script("""
        return Array.from(document.querySelectorAll('input'))
          .filter(e => e.labels.length === 0).map(e => e.id)""")
    assert unlabelled == []
    assert alice["log"].get_attribute("aria-live") == "polite"
    assert alice["state"].get_attribute("role") == "status"


def test_nothing_is_loaded_from_elsewhere(alice):
    loaded = alice.script("return performance.getEntriesByType('resource')"
                          ".map(e => e.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []
