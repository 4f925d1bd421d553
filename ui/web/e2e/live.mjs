/**
 * Looks at a real peer's page as a person would, and says whether what should be on it is there:
 *
 *   node e2e/live.mjs --url http://HOST:PORT --nodes client,web --edges 'client>web' --screenshot out.png [--open web]
 *
 * More flags: --topology containers, --absent gone,older, --theme dark, --timeout 30 (seconds for everything).
 * Reads the list of nodes beside the map. Exits with 0 when all is there, with 1 and what is missing when not.
 */
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
    theme: { type: "string", default: "light" },
    timeout: { type: "string", default: "30" },
  },
});

const list = (text) => text.split(",").filter((part) => part !== "");

/** In the page: whether all is as wanted or, with `explain`, a list of what is wrong with the map. */
function compare({ nodes, edges, absent, explain }) {
  const items = [...document.querySelectorAll('[aria-label="Nodes"] li')];
  const named = (label) => items.filter((li) => li.dataset.label === label);
  const connects = ([from, to]) =>
    named(from).some((li) =>
      [...li.querySelectorAll("[data-server]")].some((span) => span.textContent === to),
    );
  const wrong = [
    ...nodes.filter((label) => named(label).length === 0).map((label) => `no node ${label}`),
    ...absent.filter((label) => named(label).length > 0).map((label) => `still a node ${label}`),
    ...edges.filter((edge) => !connects(edge)).map((edge) => `no edge ${edge.join(">")}`),
    ...items.filter((li) => li.dataset.x === undefined).map((li) => `no place for ${li.dataset.label}`),
  ];
  return explain ? wrong : wrong.length === 0;
}

async function look(page, want, timeoutMs) {
  page.setDefaultTimeout(timeoutMs);
  const address = new URL(flags.url);
  if (flags.topology !== "") address.hash = `#/${flags.topology}`;
  await page.goto(address.href);
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

async function main() {
  if (!flags.url) throw new Error("--url is missing");
  const want = {
    nodes: list(flags.nodes),
    edges: list(flags.edges).map((edge) => edge.split(">")),
    absent: list(flags.absent),
  };
  const { page, close } = await openBrowser({ colorScheme: flags.theme === "dark" ? "dark" : "light" });
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  try {
    await look(page, want, Number(flags.timeout) * 1000);
    if (complaints.length > 0) throw new Error(`the page complains: ${complaints.join(", ")}`);
  } finally {
    await settle(page).catch(() => undefined);
    if (flags.screenshot !== "") await page.screenshot({ path: flags.screenshot }).catch(() => undefined);
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
