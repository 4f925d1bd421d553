/**
 * Looks at a real peer's page as a person would, and says whether what should be on it is there:
 *
 *   node e2e/live.mjs --url http://HOST:PORT --nodes client,web --edges 'client>web' --screenshot out.png [--open web]
 *
 * More flags: --topology containers, --absent gone,older, --theme dark, --timeout 30 (seconds for everything).
 * Of a mesh: --peers alpha=live,beta=live opens the peers and waits until the panel and the nodes say so, and then, after the
 * first picture, --peers-later alpha=live,beta=suspect until they say that, with a picture in --screenshot-later.
 * Reads the list of nodes beside the map. Exits with 0 when all is there, with 1 and what is missing when not.
 */
import { rename, writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { openBrowser } from "./browser.mjs";

const { values: flags } = parseArgs({
  options: {
    url: { type: "string" },
    topology: { type: "string", default: "" },
    nodes: { type: "string", default: "" },
    edges: { type: "string", default: "" },
    absent: { type: "string", default: "" },
    open: { type: "string", default: "" },
    screenshot: { type: "string", default: "" },
    peers: { type: "string", default: "" },
    "peers-later": { type: "string", default: "" },
    "screenshot-later": { type: "string", default: "" },
    theme: { type: "string", default: "light" },
    timeout: { type: "string", default: "30" },
  },
});

const lives = (text) => list(text).map((peer) => peer.split("="));
const list = (text) => text.split(",").filter((part) => part !== "");

/** In the page: whether all is as wanted or, with `explain`, a list of what is wrong with the map and the peers. */
function compare({ nodes, edges, absent, peers, explain }) {
  const items = [...document.querySelectorAll('[aria-label="Nodes"] li')];
  const named = (label) => items.filter((li) => li.dataset.label === label);
  const connects = ([from, to]) =>
    named(from).some((li) =>
      [...li.querySelectorAll("[data-server]")].some((span) => span.textContent === to),
    );
  const rows = [...document.querySelectorAll("#peers [data-peer]")];
  const isStale = (li) => /not heard of/.test(li.querySelector("button").textContent);
  const seems = ([host, life]) =>
    rows.some((row) => row.dataset.peer === host && row.classList.contains(life)) &&
    named(host).some((li) => isStale(li) === (life !== "live"));
  const wrong = [
    ...nodes.filter((label) => named(label).length === 0).map((label) => `no node ${label}`),
    ...absent.filter((label) => named(label).length > 0).map((label) => `still a node ${label}`),
    ...edges.filter((edge) => !connects(edge)).map((edge) => `no edge ${edge.join(">")}`),
    ...peers.filter((peer) => !seems(peer)).map((peer) => `not ${peer.join("=")}`),
    ...(peers.length > 0 && rows.length !== peers.length ? [`${rows.length} peers`] : []),
    ...items.filter((li) => li.dataset.x === undefined).map((li) => `no place for ${li.dataset.label}`),
  ];
  return explain ? wrong : wrong.length === 0;
}

async function open(page, timeoutMs) {
  page.setDefaultTimeout(timeoutMs);
  const address = new URL(flags.url);
  const panel = flags.peers === "" ? "" : "?panel=peers";
  if (flags.topology + panel !== "") address.hash = `#/${flags.topology}${panel}`;
  await page.goto(address.href);
}

async function look(page, want) {
  try {
    await page.waitForFunction(compare, want);
  } catch (error) {
    const wrong = await page.evaluate(compare, { ...want, explain: true });
    const shown = await page.$$eval('[aria-label="Nodes"] li', (items) =>
      items.map((li) => li.dataset.label),
    );
    const reason = wrong.length > 0 ? wrong.join(", ") : error.message;
    throw new Error(`${reason}; the page shows: ${shown.join(", ") || "nothing"}`, { cause: error });
  }
}

async function openDetails(page) {
  if (flags.open === "") return;
  await page.locator(`[aria-label="Nodes"] [data-label="${flags.open}"] button`).first().focus();
  await page.keyboard.press("Enter");
  await page
    .getByRole("complementary", { name: `Details of ${flags.open}` })
    .getByRole("heading", { name: "Info" })
    .waitFor();
}

/** Lets the camera and the fading come to rest: two frames without motion. */
async function settle(page) {
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
}

/** A picture for people. It is there whole or not at all: who waits for the file may go on when it is there. */
async function picture(page, path) {
  await settle(page);
  if (path === "") return;
  await writeFile(`${path}.part`, await page.screenshot());
  await rename(`${path}.part`, path);
}

async function main() {
  if (!flags.url) throw new Error("--url is missing");
  const want = {
    nodes: list(flags.nodes),
    edges: list(flags.edges).map((edge) => edge.split(">")),
    absent: list(flags.absent),
    peers: lives(flags.peers),
  };
  const later = { ...want, peers: lives(flags["peers-later"]) };
  const { page, close } = await openBrowser({ colorScheme: flags.theme === "dark" ? "dark" : "light" });
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  try {
    await open(page, Number(flags.timeout) * 1000);
    await look(page, want);
    await openDetails(page);
    if (later.peers.length > 0) {
      await picture(page, flags.screenshot);
      await look(page, later);
    }
    if (complaints.length > 0) throw new Error(`the page complains: ${complaints.join(", ")}`);
  } finally {
    const last = later.peers.length > 0 ? flags["screenshot-later"] : flags.screenshot;
    await picture(page, last).catch(() => undefined);
    await close();
  }
  console.log(
    `ok: ${want.nodes.length} nodes and ${want.edges.length} edges are on the page of ${flags.url}`,
  );
}

try {
  await main();
} catch (error) {
  console.error(`FAIL: ${error.message}`);
  process.exitCode = 1;
}
