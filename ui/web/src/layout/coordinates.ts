/**
 * Third step: x within each layer, as near to the neighbours' mean as the order and the gaps allow. For one layer that
 * is isotonic regression, solved exactly by pooling adjacent violators; layers are swept down and up in turn.
 */
import { at, EDGE_GAP_EDGE, EDGE_GAP_NODE, GAP_X, GAP_Y, ROW_GAP, type Point, type Work } from "./geometry";
import type { Layers } from "./layers";

const SWEEPS = 16;

/** Virtual vertices pull harder, so that long edges run straight. */
const VIRTUAL_WEIGHT = 3;

/** What a vertex without neighbours on that side weighs: it gives way, but keeps its place if it can. */
const IDLE_WEIGHT = 0.05;

export interface Coordinates {
  /** Positions of all vertices, virtual ones included, around x = 0 with the first layer at y = 0. */
  points: Point[];
  /** y of the first and of the last row of each vertex's layer. */
  firstRow: number[];
  lastRow: number[];
}

export function coordinates(graph: Layers, work: Work): Coordinates {
  const rows = graph.layers.map((layer) => rowCount(graph, layer));
  const gaps = graph.layers.map((layer, i) => layerGaps(graph, layer, at(rows, i)));
  const x = new Float64Array(graph.up.length);
  graph.layers.forEach((layer, i) => {
    const offsets = cumulative(at(gaps, i));
    const middle = (offsets.at(-1) ?? 0) / 2;
    layer.forEach((vertex, k) => (x[vertex] = at(offsets, k) - middle));
  });
  const both = graph.up.map((up, vertex) => [...up, ...at(graph.down, vertex)]);
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const downward = sweep % 2 === 0;
    const neighbours = sweep >= SWEEPS - 4 ? both : downward ? graph.up : graph.down;
    for (let step = 0; step < graph.layers.length; step++) {
      const i = downward ? step : graph.layers.length - 1 - step;
      settle(graph, at(graph.layers, i), at(gaps, i), neighbours, x, work);
    }
  }
  return withRows(graph, rows, x);
}

/** Rows a layer is broken into, so that a server of forty clients is a block and not a strip. */
function rowCount(graph: Layers, layer: readonly number[]): number {
  const real = layer.filter((vertex) => vertex < graph.real).length;
  return Math.ceil(real / Math.max(9, Math.ceil(2.4 * Math.sqrt(graph.real)))) || 1;
}

/** Least distance of each vertex of a layer from the one before it; the first has 0. */
function layerGaps(graph: Layers, layer: readonly number[], rows: number): number[] {
  return layer.map((vertex, i) => {
    if (i === 0) return 0;
    const virtual = Number(vertex >= graph.real) + Number(at(layer, i - 1) >= graph.real);
    return virtual === 0 ? GAP_X / rows : virtual === 1 ? EDGE_GAP_NODE : EDGE_GAP_EDGE;
  });
}

function cumulative(gaps: readonly number[]): number[] {
  let sum = 0;
  return gaps.map((gap) => (sum += gap));
}

function settle(
  graph: Layers,
  layer: readonly number[],
  gaps: readonly number[],
  neighbours: readonly number[][],
  x: Float64Array,
  work: Work,
): void {
  const offsets = cumulative(gaps);
  const wanted: number[] = [];
  const weights: number[] = [];
  layer.forEach((vertex, i) => {
    const around = at(neighbours, vertex);
    work.steps += around.length + 1;
    const mean = around.reduce((sum, n) => sum + at(x, n), 0) / around.length;
    wanted.push((around.length > 0 ? mean : at(x, vertex)) - at(offsets, i));
    weights.push(around.length === 0 ? IDLE_WEIGHT : vertex >= graph.real ? VIRTUAL_WEIGHT : 1);
  });
  isotonic(wanted, weights).forEach((value, i) => (x[at(layer, i)] = value + at(offsets, i)));
}

/** The non-decreasing sequence nearest to `wanted` by weighted squares. */
export function isotonic(wanted: readonly number[], weights: readonly number[]): number[] {
  const pools: { mean: number; weight: number; size: number }[] = [];
  wanted.forEach((value, i) => {
    let pool = { mean: value, weight: at(weights, i), size: 1 };
    for (let last = pools.at(-1); last && last.mean > pool.mean; last = pools.at(-1)) {
      const weight = last.weight + pool.weight;
      const mean = (last.mean * last.weight + pool.mean * pool.weight) / weight;
      pool = { mean, weight, size: last.size + pool.size };
      pools.pop();
    }
    pools.push(pool);
  });
  return pools.flatMap((pool) => Array<number>(pool.size).fill(pool.mean));
}

function withRows(graph: Layers, rows: readonly number[], x: Float64Array): Coordinates {
  const points: Point[] = Array.from(x, (value) => ({ x: value, y: 0 }));
  const firstRow: number[] = [];
  const lastRow: number[] = [];
  let top = 0;
  graph.layers.forEach((layer, i) => {
    const count = at(rows, i);
    let real = 0;
    for (const vertex of layer) {
      const row = vertex < graph.real ? real++ % count : (count - 1) / 2;
      at(points, vertex).y = top + row * ROW_GAP;
      firstRow[vertex] = top;
      lastRow[vertex] = top + (count - 1) * ROW_GAP;
    }
    top += (count - 1) * ROW_GAP + GAP_Y;
  });
  return { points, firstRow, lastRow };
}
