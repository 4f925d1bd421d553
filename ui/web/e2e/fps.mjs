/**
 * Frames per second while the map zooms in and out with every frame, without a GPU: `node e2e/fps.mjs 1000 5000 10000`.
 * Prints the median of three runs of two seconds, for the whole map and close up, and the worst frame.
 */
import { openBrowser } from "./browser.mjs";
import { Mock } from "./mock.mjs";

const RUNS = 3;
const RUN_MS = 2000;

/** In the page: zooms for a while and counts the frames. */
async function measure({ runMs, inwards }) {
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
    now = await frame();
    worst = Math.max(worst, now - before);
    before = now;
    frames += 1;
  }
  for (let i = 0; i < inwards; i++) zoom(200);
  await frame();
  return { fps: (frames * 1000) / runMs, worst };
}

for (const count of process.argv.slice(2).map(Number)) {
  const mock = new Mock({ nodes: count });
  const url = await mock.listen();
  const { page, close } = await openBrowser();
  const started = performance.now();
  await page.goto(url);
  await page.waitForFunction(
    () => document.querySelector('[aria-label="Nodes"] li')?.dataset.x !== undefined,
  );
  const shown = performance.now() - started;
  const results = [];
  for (const inwards of [0, Math.ceil(Math.log(count / 60) / 0.64)]) {
    const runs = [];
    for (let run = 0; run < RUNS; run++) runs.push(await page.evaluate(measure, { runMs: RUN_MS, inwards }));
    runs.sort((a, b) => a.fps - b.fps);
    results.push(
      `${runs[1].fps.toFixed(0)} fps (worst frame ${Math.max(...runs.map(({ worst }) => worst)).toFixed(0)} ms)`,
    );
  }
  console.log(`${count} nodes: shown after ${shown.toFixed(0)} ms; whole ${results[0]}, close ${results[1]}`);
  await close();
  await mock.stop();
}
