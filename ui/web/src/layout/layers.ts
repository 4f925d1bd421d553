/**
 * First step of the layered layout (Sugiyama): break cycles, give each vertex a layer with clients above servers, and
 * split long edges by virtual vertices, one in each layer they cross.
 */
import { at, predecessors, successors, type Work } from "./geometry";

export interface Layers {
  /** Vertices of each layer from the top. Those from `real` on are virtual. */
  layers: number[][];
  real: number;
  /** Neighbours one layer up and one layer down. */
  up: number[][];
  down: number[][];
  /** Virtual vertices of each long edge, from its first end to its second. */
  chains: { edge: number; via: number[] }[];
}

type Edge = readonly [number, number];

export function assignLayers(count: number, edges: readonly Edge[], work: Work): Layers {
  const reversed = feedbackEdges(count, edges, work);
  const acyclic = edges.map(([from, to], i): Edge => (reversed.has(i) ? [to, from] : [from, to]));
  const ranks = tighten(count, acyclic, longestPaths(count, acyclic, work));
  return split(count, acyclic, reversed, ranks, work);
}

/** Edges that close a cycle in a depth-first walk that begins at the vertices nobody connects to. */
function feedbackEdges(count: number, edges: readonly Edge[], work: Work): Set<number> {
  const out: number[][] = Array.from({ length: count }, () => []);
  const balance = new Int32Array(count);
  const incoming = new Int32Array(count);
  edges.forEach(([from, to], i) => {
    at(out, from).push(i);
    balance[from] = at(balance, from) + 1;
    balance[to] = at(balance, to) - 1;
    incoming[to] = at(incoming, to) + 1;
  });
  const starts = Array.from({ length: count }, (_, v) => v).sort(
    (a, b) =>
      Number(at(incoming, a) > 0) - Number(at(incoming, b) > 0) || at(balance, b) - at(balance, a) || a - b,
  );
  const feedback = new Set<number>();
  const state = new Uint8Array(count); // 0 new, 1 on the walk, 2 done
  const next = new Int32Array(count);
  for (const start of starts) {
    if (state[start] !== 0) continue;
    const walk = [start];
    state[start] = 1;
    while (walk.length > 0) {
      work.steps += 1;
      const vertex = at(walk, walk.length - 1);
      const edge = at(out, vertex)[at(next, vertex)];
      if (edge === undefined) {
        state[vertex] = 2;
        walk.pop();
        continue;
      }
      next[vertex] = at(next, vertex) + 1;
      const target = at(edges, edge)[1];
      if (state[target] === 1) feedback.add(edge);
      if (state[target] === 0) {
        state[target] = 1;
        walk.push(target);
      }
    }
  }
  return feedback;
}

function topological(count: number, edges: readonly Edge[]): number[] {
  const out = successors(count, edges);
  const waiting = new Int32Array(count);
  for (const [, to] of edges) waiting[to] = at(waiting, to) + 1;
  const order = Array.from({ length: count }, (_, v) => v).filter((v) => waiting[v] === 0);
  for (let i = 0; i < order.length; i++) {
    for (const target of at(out, at(order, i))) {
      waiting[target] = at(waiting, target) - 1;
      if (waiting[target] === 0) order.push(target);
    }
  }
  return order;
}

function longestPaths(count: number, edges: readonly Edge[], work: Work): Int32Array {
  const out = successors(count, edges);
  const ranks = new Int32Array(count);
  for (const vertex of topological(count, edges)) {
    for (const target of at(out, vertex)) {
      work.steps += 1;
      ranks[target] = Math.max(at(ranks, target), at(ranks, vertex) + 1);
    }
  }
  return ranks;
}

/** Pulls vertices with more servers than clients down to just above their servers: shorter edges, same order. */
function tighten(count: number, edges: readonly Edge[], ranks: Int32Array): Int32Array {
  const out = successors(count, edges);
  const incoming = predecessors(count, edges);
  for (const vertex of topological(count, edges).reverse()) {
    const targets = at(out, vertex);
    if (targets.length <= at(incoming, vertex).length) continue;
    ranks[vertex] = Math.min(...targets.map((target) => at(ranks, target))) - 1;
  }
  const top = ranks.reduce((least, rank) => Math.min(least, rank), Infinity);
  return ranks.map((rank) => rank - top);
}

/** Virtual vertices allowed. Past it the longest edges stay whole: they cross everything anyway. */
const virtualMax = (count: number): number => 4 * count + 64;

function split(
  count: number,
  edges: readonly Edge[],
  reversed: ReadonlySet<number>,
  ranks: Int32Array,
  work: Work,
): Layers {
  const layers: number[][] = [];
  const place = (vertex: number, rank: number): void => {
    while (layers.length <= rank) layers.push([]);
    at(layers, rank).push(vertex);
  };
  for (let v = 0; v < count; v++) place(v, at(ranks, v));
  const links: Edge[] = [];
  const chains: Layers["chains"] = [];
  const span = (i: number): number => at(ranks, at(edges, i)[1]) - at(ranks, at(edges, i)[0]);
  const shortestFirst = edges.map((_, i) => i).sort((a, b) => span(a) - span(b) || a - b);
  let total = count;
  for (const i of shortestFirst) {
    const [from, to] = at(edges, i);
    const via: number[] = [];
    if (total - count + span(i) - 1 > virtualMax(count)) continue;
    for (let rank = at(ranks, from) + 1; rank < at(ranks, to); rank++) {
      place(total, rank);
      via.push(total);
      total += 1;
    }
    const path = [from, ...via, to];
    for (let k = 1; k < path.length; k++) links.push([at(path, k - 1), at(path, k)]);
    if (via.length > 0) chains.push({ edge: i, via: reversed.has(i) ? [...via].reverse() : via });
    work.steps += path.length;
  }
  return { layers, real: count, up: predecessors(total, links), down: successors(total, links), chains };
}
