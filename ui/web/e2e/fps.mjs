/**
 * Frames per second while the map zooms in and out with every frame, without a GPU: `node e2e/fps.mjs 1000 5000 10000`.
 * `--lines=traffic` weighs the edges; `--hover` points at the map between frames.
 * Prints the median of three runs of two seconds, for the whole map and close up, and the worst frame.
 */
import { openBrowser } from "./browser.mjs";
import { Mock } from "./mock.mjs";

const RUNS = 3;
const RUN_MS = 2000;

/** In the page: zooms for a while and counts the frames. */
async function measure({ runMs, inwards, hover }) {
  const canvas = document.querySelector("canvas");
  const { width, height } = canvas.getBoundingClientRect();
  const zoom = (deltaY) =>
    canvas.dispatchEvent(
      new WheelEvent("wheel", { deltaY, clientX: width / 2, clientY: height / 2 + 96, cancelable: true }),
    );
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  for (let i = 0; i < inwards; i++) zoom(-200);
  await frame();
  const start = performance.now();
  let [frames, worst, before] = [0, 0, start];
  for (let now = start; now - start < runMs;) {
    zoom(Math.floor(frames / 20) % 2 === 0 ? -12 : 12);
    if (hover)
      canvas.dispatchEvent(
        new PointerEvent("pointermove", {
          clientX: (frames * 37) % width,
          clientY: 100 + ((frames * 23) % (height - 100)),
        }),
      );
    now = await frame();
    worst = Math.max(worst, now - before);
    before = now;
    frames += 1;
  }
  for (let i = 0; i < inwards; i++) zoom(200);
  await frame();
  return { fps: (frames * 1000) / runMs, worst };
}

const flags = process.argv.slice(2).filter((arg) => arg.startsWith("--"));
const lines = flags.find((flag) => flag.startsWith("--lines="))?.slice("--lines=".length) ?? "plain";
const hover = flags.includes("--hover");

for (const count of process.argv
  .slice(2)
  .filter((arg) => !flags.includes(arg))
  .map(Number)) {
  const mock = new Mock({ nodes: count });
  const url = await mock.listen();
  const { page, close } = await openBrowser();
  const started = performance.now();
  await page.goto(`${url}#/containers?lines=${lines}`);
  await page.getByRole("group", { name: "Lines" }).waitFor();
  await page.waitForFunction(
    () => document.querySelector('[aria-label="Nodes"] li')?.dataset.x !== undefined,
  );
  const shown = performance.now() - started;
  const results = [];
  for (const inwards of [0, Math.ceil(Math.log(count / 60) / 0.64)]) {
    const runs = [];
    for (let run = 0; run < RUNS; run++)
      runs.push(await page.evaluate(measure, { runMs: RUN_MS, inwards, hover }));
    runs.sort((a, b) => a.fps - b.fps);
    results.push(
      `${runs[1].fps.toFixed(0)} fps (worst frame ${Math.max(...runs.map(({ worst }) => worst)).toFixed(0)} ms)`,
    );
  }
  console.log(`${count} nodes: shown after ${shown.toFixed(0)} ms; whole ${results[0]}, close ${results[1]}`);
  await close();
  await mock.stop();
}
