/** Fails when the page outgrows its budget. Kilobytes are 1,000 bytes, compressed as a server sends them. */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const ASSETS = fileURLToPath(new URL("../dist/assets/", import.meta.url));

/** All scripts are needed to show the first map: the page and the layout worker. */
const BUDGETS_KB = { js: 80, css: 12 };

let failed = false;
for (const [kind, limit] of Object.entries(BUDGETS_KB)) {
  const files = readdirSync(ASSETS).filter((name) => name.endsWith(`.${kind}`));
  const bytes = files.reduce(
    (sum, name) => sum + gzipSync(readFileSync(ASSETS + name), { level: 9 }).length,
    0,
  );
  const over = files.length === 0 || bytes > limit * 1000;
  failed ||= over;
  console.log(
    `${over ? "FAIL" : "ok"}  ${kind}: ${(bytes / 1000).toFixed(1)} of ${limit} KB gzip (${files.join(", ")})`,
  );
}
process.exitCode = failed ? 1 : 0;
