/**
 * A layout of a whole graph from nothing: hubs out, each connected group in layers with clients above servers, groups
 * packed in rows, single nodes in a grid below, hubs in a row of their own above or below everything.
 */
import { takeApart } from "./communities";
import { coordinates, isotonic, type Coordinates } from "./coordinates";
import { at, GAP_X, GAP_Y, subgraph, successors, Work, type IndexGraph, type Point } from "./geometry";
import { assignLayers } from "./layers";
import { reduceCrossings } from "./order";
import { bounds, gridBlock, packRows, type Block } from "./pack";

export interface Arrangement {
  /** Where each vertex is. */
  points: Point[];
  /** Corners of edges that pass other nodes, by `from,to`. */
  bends: Map<string, Point[]>;
}

export function arrange(graph: IndexGraph, work: Work = new Work()): Arrangement {
  const parts = takeApart(graph, work);
  const out = successors(graph.ids.length, graph.edges);
  const blocks = [
    ...parts.groups.map((members) => layeredBlock(members, out, work)),
    ...parts.singles.map(gridBlock),
  ];
  packRows(blocks);
  const points: Point[] = graph.ids.map(() => ({ x: 0, y: 0 }));
  const bends = new Map<string, Point[]>();
  for (const block of blocks) {
    block.members.forEach((vertex, i) => (points[vertex] = at(block.points, i)));
    for (const [key, bend] of block.bends) bends.set(key, bend);
  }
  const box = bounds(blocks.flatMap((block) => block.points));
  placeHubs(parts.hubsAbove, box.top - 1.5 * GAP_Y, graph, points);
  placeHubs(parts.hubsBelow, box.bottom + 1.5 * GAP_Y, graph, points);
  return { points, bends };
}

/** One connected group in layers, around x = 0. */
export function layeredBlock(members: number[], out: readonly number[][], work: Work): Block {
  const edges = subgraph(members, out);
  const layers = assignLayers(members.length, edges, work);
  reduceCrossings(layers, work);
  const placed = coordinates(layers, work);
  const viaOf = new Map(layers.chains.map(({ edge, via }) => [edge, via]));
  const bends = new Map<string, Point[]>();
  edges.forEach(([from, to], i) => {
    const via = (viaOf.get(i) ?? []).map((vertex) => at(placed.points, vertex));
    const corners = [...besideRows(from, to, placed), ...via, ...besideRows(to, from, placed)];
    if (corners.length > 0) bends.set(`${at(members, from)},${at(members, to)}`, corners);
  });
  return { members, points: placed.points.slice(0, members.length), bends };
}

/** Where an edge towards `other` leaves the rows of its end's own layer: straight up or down through the gap. */
function besideRows(end: number, other: number, { points, firstRow, lastRow }: Coordinates): Point[] {
  const { x, y } = at(points, end);
  const exit = at(firstRow, other) > at(firstRow, end) ? at(lastRow, end) : at(firstRow, end);
  return exit === y ? [] : [{ x, y: exit }];
}

/** A row of hubs, each as near as can be to the middle of what it is connected with. */
function placeHubs(hubs: readonly number[], y: number, graph: IndexGraph, points: Point[]): void {
  if (hubs.length === 0) return;
  const isHub = new Set(hubs);
  const sums = new Map(hubs.map((hub) => [hub, { x: 0, count: 0 }]));
  for (const [from, to] of graph.edges) {
    for (const [hub, other] of [
      [from, to],
      [to, from],
    ] as const) {
      const sum = sums.get(hub);
      if (!sum || isHub.has(other)) continue;
      sum.x += at(points, other).x;
      sum.count += 1;
    }
  }
  const mean = (hub: number): number => (sums.get(hub)?.x ?? 0) / Math.max(1, sums.get(hub)?.count ?? 0);
  const gap = 1.6 * GAP_X;
  const row = [...hubs].sort((a, b) => mean(a) - mean(b) || a - b);
  const xs = isotonic(
    row.map((hub, i) => mean(hub) - i * gap),
    row.map(() => 1),
  );
  row.forEach((hub, i) => (points[hub] = { x: at(xs, i) + i * gap, y }));
}
