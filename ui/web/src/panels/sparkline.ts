/** The line of a metric's history, as SVG path data. */
import type { Metric, Sample } from "../model/protocol";

export interface Spark {
  line: string;
  area: string;
  low: number;
  high: number;
}

/** History shown, back from the newest sample. */
const WINDOW_MS = 120_000;

/** A gap in the samples longer than this breaks the line: the host was away. */
const GAP_MS = 15_000;

/** The part of the history that is drawn, oldest first. */
export function recent(metric: Metric): Sample[] {
  const samples = [...metric.samples].sort((a, b) => a.atMs - b.atMs);
  const newest = samples.at(-1)?.atMs ?? 0;
  return samples.filter((sample) => sample.atMs >= newest - WINDOW_MS);
}

/** `null` for fewer than two samples. The scale begins at 0 and ends a little above the highest value. */
export function sparkline(samples: readonly Sample[], width: number, height: number): Spark | null {
  const newest = samples.at(-1);
  if (!newest || samples.length < 2) return null;
  const values = samples.map((sample) => sample.value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const scale = Math.max(high * 1.15, Number.EPSILON);
  const x = (sample: Sample): number => round(width * (1 - (newest.atMs - sample.atMs) / WINDOW_MS));
  const y = (sample: Sample): number =>
    round(height - (Math.max(0, sample.value) / scale) * (height - 2) - 1);
  let line = "";
  let area = "";
  for (const run of runs(samples)) {
    const points = run.map((sample) => `${x(sample)} ${y(sample)}`).join("L");
    const [first, last] = [run[0] ?? newest, run.at(-1) ?? newest];
    line += `M${points}`;
    area += `M${x(first)} ${height}L${points}L${x(last)} ${height}Z`;
  }
  return { line, area, low, high };
}

function runs(samples: readonly Sample[]): Sample[][] {
  const found: Sample[][] = [];
  let before = -Infinity;
  for (const sample of samples) {
    if (sample.atMs - before > GAP_MS) found.push([]);
    found.at(-1)?.push(sample);
    before = sample.atMs;
  }
  return found;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
