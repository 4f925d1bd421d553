/** How much better a fresh layout would read, and detours for edges that would cross a node. */
import { edgeCurve, sample } from "./curve";
import { at, edgeKey, GAP_Y, NODE_RADIUS, type IndexGraph, type Point } from "./geometry";
import type { Placed } from "./place";

/** Maps larger than this get no detours: their edges are hairlines. */
export const DETOUR_NODES_MAX = 300;

/** Length of all edges, those that do not run downwards counted double. */
export function cost(placed: Placed, graph: IndexGraph): number {
  let sum = 0;
  for (const [from, to] of graph.edges) {
    const a = placed.at.get(at(graph.ids, from));
    const b = placed.at.get(at(graph.ids, to));
    if (!a || !b) continue;
    const length = Math.hypot(b.x - a.x, b.y - a.y);
    sum += b.y - a.y < GAP_Y / 2 ? 2 * length : length;
  }
  return sum;
}

/** The layout with a corner for each edge that would run through a node. Nothing moves. */
export function withDetours(placed: Placed, graph: IndexGraph): Placed {
  if (graph.ids.length > DETOUR_NODES_MAX) return placed;
  const nodes = graph.ids.map((id) => placed.at.get(id)).filter((point) => point !== undefined);
  const bends = new Map(placed.bends);
  for (const [from, to] of graph.edges) {
    const key = edgeKey(at(graph.ids, from), at(graph.ids, to));
    const a = placed.at.get(at(graph.ids, from));
    const b = placed.at.get(at(graph.ids, to));
    if (bends.has(key) || !a || !b || isClear([], a, b, nodes)) continue;
    const corner = detour(a, b, nodes);
    if (corner) bends.set(key, [corner]);
  }
  return { ...placed, bends };
}

const CLEARANCE = NODE_RADIUS + 6;

/** Side steps tried, in map units, nearest first. */
const SIDE_STEPS = [75, -75, 130, -130, 200, -200];

function detour(a: Point, b: Point, nodes: readonly Point[]): Point | null {
  const length = Math.hypot(b.x - a.x, b.y - a.y) || 1;
  for (const step of SIDE_STEPS) {
    const corner = {
      x: (a.x + b.x) / 2 - ((b.y - a.y) / length) * step,
      y: (a.y + b.y) / 2 + ((b.x - a.x) / length) * step,
    };
    if (isClear([corner], a, b, nodes)) return corner;
  }
  return null;
}

function isClear(corners: readonly Point[], from: Point, to: Point, nodes: readonly Point[]): boolean {
  const path = sample(edgeCurve(from, to, corners, false));
  return nodes.every(
    (node) =>
      node === from ||
      node === to ||
      path.every(({ x, y }) => Math.hypot(node.x - x, node.y - y) > CLEARANCE),
  );
}
