/** The units and shapes of data the layout works in. Distances are map units: pixels at zoom 1. */

export interface Point {
  x: number;
  y: number;
}

/** Radius of a node's shape. */
export const NODE_RADIUS = 27;

/** Between the centres of two nodes side by side: room for a label of about 20 characters. */
export const GAP_X = 150;

/** Between the centres of two nodes one above the other: shape, two label lines, and room for an edge to bend. */
export const GAP_Y = 142;

/** Between the rows of one layer that is too wide for one row. */
export const ROW_GAP = 112;

/** Between a node and an edge that passes it, and between two such edges. */
export const EDGE_GAP_NODE = 88;
export const EDGE_GAP_EDGE = 36;

/** A graph by index. `ids` are in drawing order; edges have two different ends and none comes twice. */
export interface IndexGraph {
  ids: string[];
  edges: [number, number][];
}

export interface LayoutNode {
  id: string;
  /** What neighbours in a row are ordered by, before the id. */
  sort: string;
}

/** The graph in an order of its own, so that equal input, however it arrived, gives an equal picture. */
export function indexGraph(
  nodes: readonly LayoutNode[],
  edges: Iterable<readonly [string, string]>,
): IndexGraph {
  const sorted = [...nodes].sort((a, b) => compare(a.sort, b.sort) || compare(a.id, b.id));
  const ids = sorted.map((node) => node.id);
  const indexOf = new Map(ids.map((id, i) => [id, i]));
  const seen = new Set<number>();
  const pairs: [number, number][] = [];
  for (const [from, to] of edges) {
    const a = indexOf.get(from);
    const b = indexOf.get(to);
    if (a === undefined || b === undefined || a === b || seen.has(a * ids.length + b)) continue;
    seen.add(a * ids.length + b);
    pairs.push([a, b]);
  }
  pairs.sort((p, q) => p[0] - q[0] || p[1] - q[1]);
  return { ids, edges: pairs };
}

/** The part of a graph made of `members` and the edges among them, with `members[i]` as vertex `i`. */
export function subgraph(members: readonly number[], out: readonly number[][]): [number, number][] {
  const localOf = new Map(members.map((vertex, i) => [vertex, i]));
  const edges: [number, number][] = [];
  members.forEach((vertex, i) => {
    for (const target of out[vertex] ?? []) {
      const j = localOf.get(target);
      if (j !== undefined) edges.push([i, j]);
    }
  });
  return edges;
}

/** Successors of each vertex. */
export function successors(count: number, edges: readonly (readonly [number, number])[]): number[][] {
  const lists: number[][] = Array.from({ length: count }, () => []);
  for (const [from, to] of edges) at(lists, from).push(to);
  return lists;
}

/** Predecessors of each vertex. */
export function predecessors(count: number, edges: readonly (readonly [number, number])[]): number[][] {
  return successors(
    count,
    edges.map(([from, to]) => [to, from] as const),
  );
}

/** The key of an edge in maps of bends. No id holds a NUL. */
export function edgeKey(from: string, to: string): string {
  return `${from}\u0000${to}`;
}

/** `list[index]` for an index this code made itself. */
export function at<T>(list: ArrayLike<T>, index: number): T {
  const value = list[index];
  if (value === undefined) throw new RangeError(`no entry ${index} of ${list.length}`);
  return value;
}

/** Counts elementary steps, so that a test can bound the work without a clock. */
export class Work {
  steps = 0;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
