/**
 * The layout over time. A position is a promise: a node that is on the map stays where it is through every update; new
 * nodes find free places near their neighbours; a node that comes back returns to its old place. Only {@link tidy},
 * which the user asks for, moves what is there.
 */
import { arrange, layeredBlock } from "./arrange";
import {
  at,
  edgeKey,
  GAP_X,
  GAP_Y,
  predecessors,
  successors,
  Work,
  type IndexGraph,
  type Point,
} from "./geometry";
import { Occupancy } from "./occupancy";
import { bounds, shift, type Bounds } from "./pack";

export interface Placed {
  /** Positions of all nodes shown, and of some that have gone. */
  at: ReadonlyMap<string, Point>;
  /** Corners of edges by {@link edgeKey}. */
  bends: ReadonlyMap<string, readonly Point[]>;
  /** Nodes of the last graph. */
  shown: ReadonlySet<string>;
}

export const NOTHING: Placed = { at: new Map(), bends: new Map(), shown: new Set() };

/** Places kept for nodes that have gone; the longest gone are forgotten first. */
export const REMEMBERED_MAX = 4000;

/** The layout of a graph from nothing. */
export function tidy(graph: IndexGraph, work: Work = new Work()): Placed {
  const { points, bends } = arrange(graph, work);
  return {
    at: new Map(graph.ids.map((id, i) => [id, at(points, i)])),
    bends: new Map(
      [...bends].map(([key, bend]) => {
        const [from = 0, to = 0] = key.split(",").map(Number);
        return [edgeKey(at(graph.ids, from), at(graph.ids, to)), bend];
      }),
    ),
    shown: new Set(graph.ids),
  };
}

/** The layout after an update. Nodes of `graph` that were shown before keep their places. */
export function place(before: Placed, graph: IndexGraph, work: Work = new Work()): Placed {
  // Nothing the user knows is left, so there is no promise to keep.
  if (!graph.ids.some((id) => before.shown.has(id))) return tidy(graph, work);
  const placement = new Placement(before, graph, work);
  placement.restore();
  placement.attach();
  placement.append();
  return placement.result();
}

class Placement {
  private readonly points = new Map<string, Point>();
  private readonly taken: Occupancy;
  private readonly bends = new Map<string, readonly Point[]>();
  private readonly out: number[][];
  private readonly incoming: number[][];

  constructor(
    private readonly before: Placed,
    private readonly graph: IndexGraph,
    private readonly work: Work,
  ) {
    this.out = successors(graph.ids.length, graph.edges);
    this.incoming = predecessors(graph.ids.length, graph.edges);
    this.taken = new Occupancy(work);
    for (const id of graph.ids) {
      const point = before.shown.has(id) ? before.at.get(id) : undefined;
      if (point) this.put(id, point);
    }
  }

  /** Nodes that were here before return to their places, unless someone took them. */
  restore(): void {
    for (const id of this.graph.ids) {
      const point = this.points.has(id) ? undefined : this.before.at.get(id);
      if (point && this.taken.isFree(point)) this.put(id, point);
    }
  }

  /** New nodes with neighbours on the map go below their clients or above their servers, nearest first. */
  attach(): void {
    const queue = this.graph.ids.flatMap((id, v) => (this.points.has(id) ? this.newNeighbours(v) : []));
    for (let i = 0; i < queue.length; i++) {
      const vertex = at(queue, i);
      if (this.points.has(at(this.graph.ids, vertex))) continue;
      this.put(at(this.graph.ids, vertex), this.spotFor(vertex));
      queue.push(...this.newNeighbours(vertex));
    }
  }

  /** What has no neighbour on the map: groups as blocks beside or below it, single nodes in rows below. */
  append(): void {
    const rest = this.graph.ids.flatMap((id, v) => (this.points.has(id) ? [] : [v]));
    const singles: number[] = [];
    for (const members of this.groups(rest)) {
      if (members.length === 1) singles.push(at(members, 0));
      else this.appendBlock(members);
    }
    this.appendSingles(singles);
  }

  result(): Placed {
    for (const [from, to] of this.graph.edges) {
      const key = edgeKey(at(this.graph.ids, from), at(this.graph.ids, to));
      const bend = this.bends.get(key) ?? this.before.bends.get(key);
      if (bend) this.bends.set(key, bend);
    }
    const shown = new Set(this.graph.ids);
    const gone = [...this.before.at].filter(([id]) => !shown.has(id)).slice(-REMEMBERED_MAX);
    return { at: new Map([...gone, ...this.points]), bends: this.bends, shown };
  }

  private put(id: string, point: Point): void {
    this.points.set(id, point);
    this.taken.add(point);
  }

  private pointOf(vertex: number): Point | undefined {
    return this.points.get(at(this.graph.ids, vertex));
  }

  private newNeighbours(vertex: number): number[] {
    const neighbours = [...at(this.out, vertex), ...at(this.incoming, vertex)];
    this.work.steps += neighbours.length + 1;
    return neighbours.filter((n) => !this.pointOf(n));
  }

  /** Below its clients or, without any, above its servers: never on their row if there is room elsewhere. */
  private spotFor(vertex: number): Point {
    const placed = (list: readonly number[]): Point[] =>
      list.map((n) => this.pointOf(n)).filter((point) => point !== undefined);
    const clients = placed(at(this.incoming, vertex));
    const servers = placed(at(this.out, vertex));
    const around = [...clients, ...servers];
    const x = around.reduce((sum, point) => sum + point.x, 0) / Math.max(1, around.length);
    const below = Math.max(...clients.map((point) => point.y)) + GAP_Y;
    const above = Math.min(...servers.map((point) => point.y)) - GAP_Y;
    if (clients.length === 0) return this.taken.nearest({ x, y: above }, -1);
    if (servers.length === 0) return this.taken.nearest({ x, y: below }, 1);
    return this.taken.nearest({ x, y: (below + above) / 2 }, 0);
  }

  private groups(rest: readonly number[]): number[][] {
    const left = new Set(rest);
    const found: number[][] = [];
    for (const start of rest) {
      if (!left.delete(start)) continue;
      const members = [start];
      for (let i = 0; i < members.length; i++) {
        for (const next of this.newNeighbours(at(members, i))) if (left.delete(next)) members.push(next);
      }
      found.push(members.sort((a, b) => a - b));
    }
    return found;
  }

  private appendBlock(members: number[]): void {
    const block = layeredBlock(members, this.out, this.work);
    const map = bounds(this.points.values());
    const box = bounds(block.points);
    const wide = map.right - map.left > 1.6 * (map.bottom - map.top + GAP_Y);
    const target = wide
      ? { x: map.left, y: map.bottom + 1.3 * GAP_Y }
      : { x: map.right + 1.3 * GAP_X, y: map.top };
    shift(block, target.x - box.left, target.y - box.top);
    members.forEach((vertex, i) => this.put(at(this.graph.ids, vertex), at(block.points, i)));
    for (const [key, bend] of block.bends) {
      const [from = 0, to = 0] = key.split(",").map(Number);
      this.bends.set(edgeKey(at(this.graph.ids, from), at(this.graph.ids, to)), bend);
    }
  }

  /** Single nodes join the other single ones; if there are none, they begin a row below the map. */
  private appendSingles(singles: readonly number[]): void {
    if (singles.length === 0) return;
    const map = bounds(this.points.values());
    const start = this.lastSingle() ?? { x: map.left, y: map.bottom + GAP_Y };
    const rowEnd = Math.max(map.right, start.x + 5 * GAP_X);
    let spot = start;
    for (const vertex of singles) {
      while (!this.taken.isFree(spot)) spot = nextInRow(spot, map, rowEnd);
      this.put(at(this.graph.ids, vertex), spot);
    }
  }

  private lastSingle(): Point | undefined {
    let last: Point | undefined;
    this.graph.ids.forEach((id, v) => {
      const point = this.points.get(id);
      if (!point || at(this.out, v).length > 0 || at(this.incoming, v).length > 0) return;
      if (!last || point.y > last.y || (point.y === last.y && point.x > last.x)) last = point;
    });
    return last;
  }
}

function nextInRow(spot: Point, map: Bounds, rowEnd: number): Point {
  const x = spot.x + GAP_X;
  return x > rowEnd ? { x: map.left, y: spot.y + GAP_Y } : { x, y: spot.y };
}
