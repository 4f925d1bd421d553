/** The built page in a real browser, against a mock peer. One line for each thing it shows. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, beforeEach, afterEach, test } from "node:test";
import { openBrowser } from "./browser.mjs";
import { link, Mock, peer, probe } from "./mock.mjs";
import { container } from "./synthetic.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** The longest anything may take; a busy machine needs some of it. */
const WAIT_MS = 15_000;

let browser;
let mock;
let url;
let page;
let complaints;

before(async () => {
  browser = await openBrowser();
});

after(async () => {
  await browser.close();
});

beforeEach(async () => {
  mock = new Mock();
  url = await mock.listen();
  page = await browser.context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
});

afterEach(async () => {
  await page.close();
  await mock.stop();
  assert.deepEqual(
    complaints.filter((text) => !/ERR_CONNECTION_REFUSED|net::ERR/.test(text)),
    [],
    "errors in the page, refused content included",
  );
});

const node = (label) => page.locator(`[aria-label="Nodes"] [data-label="${label}"]`);
const metric = (label) =>
  page.getByRole("group", { name: "Fill nodes by" }).getByRole("button", { name: label });
/** The host that a container of the chain is on, where there are two. */
const named = (label) => (label === "redis" ? "osaka" : "tokyo");
const panel = (label) => page.getByRole("complementary", { name: `Details of ${label}` });

/** The browser itself reports each 404 in its console; here they are meant. */
function forgive404() {
  complaints = complaints.filter((text) => !text.includes("status of 404"));
}

/** Waits until the list of nodes holds exactly these. */
async function waitForNodes(labels) {
  await page.waitForFunction((want) => {
    const found = [...document.querySelectorAll('[aria-label="Nodes"] li')];
    return (
      found.length === want.length && want.every((label) => found.some((li) => li.dataset.label === label))
    );
  }, labels);
}

/** Where each node is on the map, once all have a place. */
async function places() {
  await page.waitForFunction(() =>
    [...document.querySelectorAll('[aria-label="Nodes"] li')].every((li) => li.dataset.x !== undefined),
  );
  return page.$$eval('[aria-label="Nodes"] li', (items) =>
    Object.fromEntries(items.map((li) => [li.dataset.label, [li.dataset.x, li.dataset.y]])),
  );
}

/** Opens the page and waits for the first map. */
async function open(hash = "") {
  await page.goto(url + hash);
  await waitForNodes(["client", "web", "api", "redis"]);
  await places();
}

async function select(label) {
  await node(label).getByRole("button").focus();
  await page.keyboard.press("Enter");
  await panel(label).waitFor();
}

test("shows the nodes and who connects to whom", async () => {
  await open();
  assert.equal(
    await node("web").getByRole("button").textContent(),
    "web, tokyo, container, 1 client, 1 server",
  );
  assert.match(await node("web").textContent(), /connects to\s+api/);
  const at = await places();
  const [top, bottom] = [Number(at.client[1]), Number(at.redis[1])];
  assert.ok(bottom > top, "clients are above servers");
});

test("nodes come and go by diff, and the others do not move", async () => {
  await open();
  const before = await places();
  const { id } = mock.byName("redis");
  mock.add(container("worker", { adjacency: [id] }), container("cron"));
  await waitForNodes(["client", "web", "api", "redis", "worker", "cron"]);
  const grown = await places();
  mock.remove(mock.byName("worker").id);
  await waitForNodes(["client", "web", "api", "redis", "cron"]);
  const shrunk = await places();
  for (const label of Object.keys(before)) {
    assert.deepEqual(grown[label], before[label], label);
    assert.deepEqual(shrunk[label], before[label], label);
  }
});

test("what is on the screen stays there while nodes come", async () => {
  await open();
  const clip = { x: 560, y: 130, width: 160, height: 120 };
  const before = await page.screenshot({ clip });
  mock.add(container("cron"));
  await waitForNodes(["client", "web", "api", "redis", "cron"]);
  await places();
  assert.ok(before.equals(await page.screenshot({ clip })), "the pixels around the first node are the same");
});

test("a tidy-up is offered when it helps, moves the nodes, and the offer goes", async () => {
  const [client, web] = mock.nodes.values();
  const chain = [...mock.nodes.values()];
  mock.nodes = new Map(chain.map((entry) => [entry.id, { ...entry, adjacency: [] }]));
  await open();
  mock.update(...chain);
  const offer = page.getByRole("button", { name: /^Nodes kept their places/ });
  await offer.click();
  await offer.waitFor({ state: "detached" });
  const at = await places();
  assert.ok(Number(at[web.label][1]) > Number(at[client.label][1]), "a server is below its client");
});

test("a click on the map opens a node, a click beside it closes it", async () => {
  await open();
  const box = await page.locator("canvas").boundingBox();
  const x = box.x + box.width / 2;
  let y = box.y + 40;
  const cursor = () => page.locator("canvas").evaluate((canvas) => canvas.style.cursor);
  for (; y < box.y + box.height; y += 8) {
    await page.mouse.move(x, y);
    if ((await cursor()) === "pointer") break;
  }
  await page.mouse.click(x, y + 8);
  await panel("client").waitFor();
  await page.mouse.click(box.x + 30, box.y + 300);
  await panel("client").waitFor({ state: "detached" });
});

test("details show figures, and names lead on; back and esc lead back", async () => {
  await open();
  await select("web");
  await panel("web").getByText("nginx:latest").waitFor();
  await panel("web")
    .getByRole("img", { name: /^CPU, last two minutes/ })
    .waitFor();
  assert.equal(
    await panel("web").getByRole("table", { name: "Processes" }).getByRole("rowheader").count(),
    5,
  );
  await panel("web")
    .getByRole("table", { name: "Outbound" })
    .getByRole("button", { name: "api", exact: true })
    .click();
  await panel("api").waitFor();
  await panel("api").getByRole("button", { name: "tokyo", exact: true }).first().click();
  await panel("tokyo").waitFor();
  await panel("tokyo").getByRole("button", { name: "Show in Hosts" }).click();
  await waitForNodes(["tokyo"]);
  await page.goBack();
  await waitForNodes(["client", "web", "api", "redis"]);
  await panel("tokyo").getByRole("button", { name: "Back" }).click();
  await panel("api").waitFor();
  await page.keyboard.press("Escape");
  await panel("web").waitFor();
  await page.keyboard.press("Escape");
  await panel("web").waitFor({ state: "detached" });
});

test("a link shows what it was copied from", async () => {
  await open();
  await select("api");
  await metric("Memory").click();
  const { hash } = new URL(page.url());
  await page.goto("about:blank");
  await open(hash);
  await panel("api").waitFor();
  assert.equal(await metric("Memory").getAttribute("aria-pressed"), "true");
});

test("search finds by text, field and metric, and esc clears it", async () => {
  await open();
  await page.keyboard.press("/");
  const cases = [
    ["redis", "1 of 4"],
    ["imagename: nginx", "1 of 4"],
    ["cpu > 1000%", "0 of 4"],
    ["-redis", "3 of 4"],
  ];
  for (const [query, found] of cases) {
    await page.getByRole("textbox", { name: "Search nodes" }).fill(query);
    await page.getByRole("search").getByText(found).waitFor();
  }
  assert.match(page.url(), /q=-redis/);
  await page.keyboard.press("Escape");
  assert.equal(await page.getByRole("textbox", { name: "Search nodes" }).inputValue(), "");
});

test("options change the map, and the back button undoes it", async () => {
  await open();
  await page.getByRole("group", { name: "stopped" }).getByRole("button", { name: "Stopped" }).click();
  await waitForNodes(["old-job"]);
  assert.match(page.url(), /stopped=stopped/);
  await page.goBack();
  await waitForNodes(["client", "web", "api", "redis"]);
});

test("what does not run says so, on the map's list and in its details", async () => {
  await open();
  mock.add(container("worker", { state: "Paused" }));
  await waitForNodes(["client", "web", "api", "redis", "worker"]);
  assert.equal(
    await node("worker").getByRole("button").textContent(),
    "worker, tokyo, paused, container, 0 clients, 0 servers",
  );
  await select("worker");
  await panel("worker").getByText("tokyo · paused").waitFor();
});

test("other options show the whole map again, unless a part was chosen", async () => {
  const lone = Array.from({ length: 60 }, (_, i) => container(`lone-${i}`));
  const before = mock.view.bind(mock);
  mock.view = (topology, params) =>
    params.get("stopped") === "both" ? [...before(topology, params), ...lone] : before(topology, params);
  const both = () =>
    page.getByRole("group", { name: "stopped" }).getByRole("button", { name: "Both" }).click();
  const hint = page.getByRole("button", { name: /out of view$/ });
  const arrived = () => node("lone-59").waitFor({ state: "attached" });
  await open();
  await both();
  await arrived();
  await places();
  assert.equal(await hint.count(), 0);
  await page.goBack();
  await waitForNodes(["client", "web", "api", "redis"]);
  await page.getByRole("button", { name: "Zoom in" }).click();
  await both();
  await arrived();
  await hint.waitFor();
});

test("at any width every tab and option is on the page", async () => {
  await open();
  for (const width of [400, 820, 1280]) {
    await page.setViewportSize({ width, height: 800 });
    const outside = await page.$$eval(".page > header button, .toolbar button, footer button", (buttons) =>
      buttons
        .map((button) => [button.textContent.trim(), button.getBoundingClientRect()])
        .filter(([, box]) => box.left < 0 || box.right > innerWidth || box.width === 0)
        .map(([text]) => text),
    );
    assert.deepEqual(outside, [], `at ${width} px`);
  }
});

test("groupings and topologies have their own maps, and back leads back", async () => {
  await open();
  await page.getByRole("button", { name: /^by image/ }).click();
  await waitForNodes(["alpine", "nginx", "node", "redis"]);
  await page
    .getByRole("navigation")
    .getByRole("button", { name: /^Hosts/ })
    .click();
  await waitForNodes(["tokyo"]);
  await page.goBack();
  await page.goBack();
  await waitForNodes(["client", "web", "api", "redis"]);
});

test("the theme can be changed and is remembered", async () => {
  await open();
  const dark = () =>
    page.evaluate(() => getComputedStyle(document.body).backgroundColor === "rgb(13, 17, 25)");
  assert.equal(await dark(), false);
  await page.getByRole("button", { name: "Switch to the dark theme" }).click();
  assert.equal(await dark(), true);
  await open();
  assert.equal(await dark(), true);
  await page.getByRole("button", { name: "Switch to the light theme" }).click();
});

test("the map stays and is marked while the peer is away, and comes back by itself", async () => {
  await open();
  const before = await places();
  await mock.stop();
  await page.getByText(/^Reconnecting/).waitFor();
  await page.getByRole("alert").waitFor();
  await waitForNodes(["client", "web", "api", "redis"]);
  const { port } = mock;
  mock = new Mock();
  await mock.listen(port);
  await page.getByText("Live", { exact: true }).waitFor();
  mock.add(container("late"));
  await waitForNodes(["client", "web", "api", "redis", "late"]);
  const after = await places();
  for (const label of Object.keys(before)) assert.deepEqual(after[label], before[label], label);
});

test("an empty map says why", async () => {
  mock.nodes.clear();
  mock.probes = [probe("tokyo", "off", "not reachable at /var/run/docker.sock")];
  await page.goto(`${url}#/containers`);
  await page.getByRole("heading", { name: "Nothing to show in Containers" }).waitFor();
  const reason = page.getByText("docker: not reachable at /var/run/docker.sock");
  await reason.first().waitFor();
  assert.equal(await reason.count(), 2, "in the middle and in the strip");
});

test("the page works below a path prefix", async () => {
  const below = new Mock({ prefix: "/tools/scope/" });
  try {
    url = await below.listen();
    await open();
    await select("web");
    await panel("web").getByText("nginx:latest").waitFor();
  } finally {
    await below.stop();
  }
});

test("help opens with ? and closes with esc", async () => {
  await open();
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Help" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog", { name: "Help" }).waitFor({ state: "hidden" });
});

test("what is not heard of stays, and says for how long, by the peer's clock", async () => {
  mock.aheadMs = 3_600_000;
  mock.peers.push(peer("osaka", { link: link("192.0.2.11:4030") }));
  mock.nodes = new Map([...mock.nodes].map(([id, one]) => [id, { ...one, labelMinor: named(one.label) }]));
  await open();
  const before = await places();
  await page.getByRole("button", { name: /^2 hosts/ }).waitFor();
  mock.setLife("osaka", "suspect", 190_000);
  await node("redis")
    .getByRole("button", { name: "redis, osaka, not heard of for 3 min, container, 1 client, 0 servers" })
    .waitFor();
  await page.getByRole("button", { name: /^1 of 2 hosts not heard of/ }).waitFor();
  assert.deepEqual(await places(), before, "nothing moves");
  assert.match(await node("web").getByRole("button").textContent(), /^web, tokyo, container/);
  await select("redis");
  await panel("redis").getByText("Not heard of for 3 min: busy, or a link").waitFor();
  await panel("redis").getByText("3 min ago · osaka").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("textbox", { name: "Search nodes" }).fill("stale");
  await page.getByRole("search").getByText("1 of 4").waitFor();
  mock.setLife("osaka", "live");
  await page.getByRole("search").getByText("0 of 4").waitFor();
  await page.getByRole("button", { name: /^2 hosts/ }).waitFor();
});

test("what is not heard of looks it, without its colour", async () => {
  await open();
  const shot = () => page.locator("canvas").screenshot();
  const looks = [await shot()];
  for (const life of ["suspect", "gone"]) {
    mock.setLife("tokyo", life, 60_000);
    await node("web")
      .getByRole("button", { name: /not heard of/ })
      .waitFor();
    // The list of nodes and the canvas change together; the canvas within two frames.
    await page.evaluate(
      () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))),
    );
    looks.push(await shot());
  }
  assert.equal(new Set(looks.map((image) => image.toString("base64"))).size, 3, "live, suspect and gone");
});

test("peers are a key or a click away, in the link, and closed with esc", async () => {
  mock.cut();
  await open();
  const bar = page.getByRole("button", { name: /^2 of 5 hosts not heard of/ });
  await bar.click();
  const peers = page.getByRole("region", { name: "Peers of this mesh" });
  await peers.getByText("Open mesh: any scope that reaches this port can join").waitFor();
  assert.match(page.url(), /panel=peers/);
  assert.equal(await bar.getAttribute("aria-expanded"), "true");
  assert.match(await bar.textContent(), /open mesh/);
  const rows = await peers
    .getByRole("row")
    .evaluateAll((all) =>
      all.slice(1).map((row) => [...row.cells].map((cell) => cell.textContent.replace(/\s+/g, " ").trim())),
    );
  assert.deepEqual(rows, [
    ["tokyo …xtokyo", "live", "192.0.2.7:4030 this one", "0.1.0", "in step", "", "", ""],
    [
      "osaka …xosaka",
      "live",
      "192.0.2.11:4030 we called",
      "0.1.0",
      "in step",
      "0.42 ms",
      "121 KB",
      "9.42 MB",
    ],
    ["kobe …xxkobe", "live", "192.0.2.7:4030 by way of others", "0.1.0", "2 versions", "", "", ""],
    [rows[3][0], rows[3][1], "192.0.2.7:4030", "0.1.0", "in step", "", "", ""],
    [rows[4][0], "gone heard 3 min ago", "192.0.2.7:4030", "0.1.0", "in step", "", "", ""],
  ]);
  assert.match(rows[3][1], /^suspect heard \d+ s ago$/);
  await peers.getByText("scope.weave.local").waitFor();
  mock.mesh.problems = ["another machine uses this peer's key"];
  await peers.getByText("another machine uses this peer's key").waitFor();
  await page.getByRole("button", { name: /1 mesh problem/ }).waitFor();
  const { hash } = new URL(page.url());
  await page.keyboard.press("Escape");
  await peers.waitFor({ state: "detached" });
  assert.equal(
    await page.evaluate(() => document.activeElement.id),
    "peers-button",
    "focus is back in the bar",
  );
  await page.goto("about:blank");
  await open(hash);
  await peers.waitFor();
  await peers.getByRole("button", { name: "osaka" }).click();
  await page.getByRole("complementary").waitFor();
  await page.locator("canvas").click({ position: { x: 5, y: 5 } });
  await page.getByRole("complementary").waitFor({ state: "detached" });
  await peers.waitFor();
  await page.keyboard.press("p");
  await peers.waitFor({ state: "detached" });
});

const edgeCard = (source, target) =>
  page.getByRole("complementary", { name: `Details of ${source} → ${target}` });
const edgeKeyButton = (table, label) =>
  page.getByRole("table", { name: table }).getByRole("button", { name: `Connections with ${label}` });

/** Moves the pointer down the middle of the map until the tip says this. Returns where that is. */
async function pointAt(text) {
  const box = await page.locator("canvas").boundingBox();
  const x = box.x + box.width / 2;
  for (let y = box.y + 40; y < box.y + box.height; y += 4) {
    await page.mouse.move(x, y);
    const tip = page.locator(".tip");
    if ((await tip.count()) > 0 && (await tip.textContent()).includes(text)) return { x, y };
  }
  throw new Error(`nothing on the map says ${text}`);
}

test("an edge says what it carries when pointed at, and everything when clicked", async () => {
  mock.figures.set("web>api", { open: 3, sent: 1200, received: 53_000, confirmed: true, fading: false });
  await open();
  await page.getByRole("group", { name: "Lines" }).waitFor();
  const before = await places();
  const { x, y } = await pointAt("web → api");
  // Beside the pointer, and for who cannot see it.
  assert.equal(await page.getByText("web → api · 3 open · 52.9 KB/s", { exact: true }).count(), 2);
  assert.equal(await page.locator("canvas").evaluate((canvas) => canvas.style.cursor), "pointer");
  await page.mouse.click(x, y);
  const card = edgeCard("web", "api");
  await card.getByText("Confirmed: both ends tell of it.").waitFor();
  await card.getByText("51.8 KB/s", { exact: true }).first().waitFor();
  const table = card.getByRole("table", { name: "Connections" });
  assert.equal(await table.getByRole("rowheader").count(), 5);
  await card.getByRole("button", { name: "Show 2 more" }).click();
  assert.equal(await table.getByRole("rowheader").count(), 7);
  await table.getByText("by way of 10.0.0.2:8080 · seen there as 10.0.0.1").waitFor();
  await table.getByText("udp:53").waitFor();
  assert.deepEqual(await places(), before, "nothing moves");
  mock.figures.set("web>api", { open: 5, sent: 1, received: 2, confirmed: false, fading: true });
  await card.getByText("Seen from one side only: the other end's host runs no scope").waitFor();
  await card.getByText(/^Last seen 1[0-9] s ago: it goes from the map/).waitFor();
  mock.figures.set("web>api", null);
  await card.getByText("This connection has gone. Below is what was last known of it.").waitFor();
  await card.getByRole("heading").getByRole("button", { name: "api" }).click();
  await panel("api").waitFor();
  await panel("api").getByRole("button", { name: "Back" }).click();
  await card.waitFor();
  await page.keyboard.press("Escape");
  await card.waitFor({ state: "detached" });
  forgive404();
});

test("a finger need not be exact, and a node wins over the edges at it", async () => {
  await open();
  await page.getByRole("group", { name: "Lines" }).waitFor();
  const { x, y } = await pointAt("client → web");
  const tap = (clientX, clientY) =>
    page.locator("canvas").evaluate(
      (canvas, at) => {
        // A made-up pointer cannot be captured.
        canvas.setPointerCapture = () => undefined;
        for (const type of ["pointerdown", "pointerup"])
          canvas.dispatchEvent(new PointerEvent(type, { pointerType: "touch", ...at }));
      },
      { clientX, clientY },
    );
  await tap(x + 12, y + 4);
  await edgeCard("client", "web").waitFor();
  await page.keyboard.press("Escape");
  await edgeCard("client", "web").waitFor({ state: "detached" });
  // Just below the client's middle its edge begins, but the shape is over it.
  const radius = 27;
  await tap(x, y - radius - 8);
  await panel("client").waitFor();
});

test("an edge is reached by keyboard, and a link brings it back", async () => {
  mock.figures.set("web>api", { confirmed: true, fading: false });
  await open();
  await select("web");
  await edgeKeyButton("Outbound", "api").focus();
  await page.keyboard.press("Enter");
  await edgeCard("web", "api").getByText("Confirmed: both ends").waitFor();
  const { hash } = new URL(page.url());
  await page.keyboard.press("Escape");
  await edgeKeyButton("Inbound", "client").focus();
  await page.keyboard.press("Enter");
  await edgeCard("client", "web").waitFor();
  await page.goto("about:blank");
  await open(hash);
  await edgeCard("web", "api").getByRole("table", { name: "Connections" }).waitFor();
  await page.keyboard.press("Escape");
  await panel("web").waitFor();
});

test("lines show what they carry, in the link, and without moving anything", async () => {
  mock.figures.set("client>web", { open: 1, sent: 10, received: 0, confirmed: true, fading: false });
  mock.figures.set("web>api", { open: 5000, sent: 10, received: 0, confirmed: true, fading: false });
  mock.figures.set("api>redis", { open: 1, sent: 1e8, received: 0, confirmed: true, fading: false });
  await open();
  const lines = page.getByRole("group", { name: "Lines" });
  const shot = async () => {
    await page.evaluate(
      () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))),
    );
    return (await page.locator("canvas").screenshot()).toString("base64");
  };
  await lines.waitFor();
  const [before, plain] = [await places(), await shot()];
  await lines.getByRole("button", { name: "Connections" }).click();
  assert.match(page.url(), /lines=connections/);
  const connections = await shot();
  await page.keyboard.press("l");
  assert.match(page.url(), /lines=traffic/);
  const traffic = await shot();
  assert.equal(new Set([plain, connections, traffic]).size, 3);
  assert.deepEqual(await places(), before);
  await page.reload();
  await lines.locator('[aria-pressed="true"]', { hasText: "Traffic" }).waitFor();
});

test("figures of edges are asked for by ETag, and a peer that has none takes nothing away", async () => {
  await open();
  await page.getByRole("group", { name: "Lines" }).waitFor();
  await page.waitForRequest((request) => request.url().includes("/edges?"));
  await page.waitForResponse((response) => response.url().includes("/edges?"));
  assert.deepEqual(mock.edgeAnswers.slice(0, 2), [200, 304]);
  mock.tellsEdges = false;
  await page.goto("about:blank");
  await open();
  await select("web");
  await panel("web").getByText("nginx:latest").waitFor();
  assert.equal(await page.getByRole("group", { name: "Lines" }).count(), 0);
  forgive404();
});

test("a known service outside has its own mark", async () => {
  const service = (icon) => ({
    id: "service-db",
    label: "db.example.net",
    labelMinor: "Example Cloud",
    rank: "db.example.net",
    shape: "cloud",
    pseudo: true,
    adjacency: [],
    icon,
  });
  mock.add(service("database"));
  await page.goto(url);
  await waitForNodes(["client", "web", "api", "redis", "db.example.net"]);
  await places();
  assert.match(
    await node("db.example.net").getByRole("button").textContent(),
    /^db.example.net, Example Cloud, outside/,
  );
  await select("db.example.net");
  const mark = () => panel("db.example.net").locator("svg .glyph").first().getAttribute("d");
  const database = await mark();
  mock.update(service("unheard-of"));
  await page.waitForFunction(
    (was) => document.querySelector("aside svg .glyph")?.getAttribute("d") !== was,
    database,
  );
});

test("axe finds nothing serious, in both themes, with details and help open", async () => {
  await open();
  await select("web");
  await panel("web").getByText("nginx:latest").waitFor();
  const states = [
    async () => undefined,
    async () => {
      await edgeKeyButton("Outbound", "api").click();
      await edgeCard("web", "api").getByRole("table", { name: "Connections" }).waitFor();
    },
    () => page.getByRole("button", { name: "Switch to the dark theme" }).click(),
    async () => {
      mock.cut();
      await page.keyboard.press("p");
      await page.getByRole("rowheader", { name: /^nagoya/ }).waitFor();
    },
    () => page.keyboard.press("?"),
  ];
  // Past the policy that keeps other scripts out of the page.
  await page.evaluate(AXE);
  for (const reach of states) {
    await reach();
    const { violations } = await page.evaluate(() => window.axe.run());
    const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    assert.deepEqual(
      serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`),
      [],
    );
  }
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Switch to the light theme" }).click();
});
