/** What the page and the layout worker say to each other. */
import { indexGraph, edgeKey, type LayoutNode } from "./geometry";
import { cost, withDetours } from "./quality";
import { NOTHING, place, tidy, type Placed } from "./place";

export interface LayoutRequest {
  /** Names the layout: each topology has its own. */
  layout: string;
  nodes: LayoutNode[];
  /** Edges as pairs of positions in `nodes`. */
  edges: Uint32Array;
  /** Lay out afresh: the user asked. */
  tidy: boolean;
}

export interface LayoutReply {
  layout: string;
  /** `x, y` of each node of the request. */
  xy: Float64Array;
  /** Corners by position in the request's edges: `[edge, x, y, x, y, …]`. */
  bends: number[][];
  /** Everything may have moved: the first layout, or one that was asked for. */
  fresh: boolean;
  /** By how much shorter the edges of a fresh layout would be: 1 is the same, 2 is half as long. */
  gain: number;
}

/** Layouts kept, the least recently used forgotten first. */
const LAYOUTS_MAX = 12;

/** Larger maps are not compared with a fresh layout: it would cost more than it tells. */
const GAIN_NODES_MAX = 1500;

/** The worker without its thread. */
export class LayoutService {
  private readonly layouts = new Map<string, Placed>();

  handle(request: LayoutRequest): LayoutReply {
    const ids = request.nodes.map((node) => node.id);
    const pairs = edgePairs(ids, request.edges);
    const graph = indexGraph(request.nodes, pairs);
    const before = this.layouts.get(request.layout) ?? NOTHING;
    const fresh = request.tidy || !ids.some((id) => before.shown.has(id));
    const placed = request.tidy ? tidy(graph) : place(before, graph);
    this.keep(request.layout, placed);
    const compare = !fresh && ids.length <= GAIN_NODES_MAX;
    const gain = compare ? cost(placed, graph) / Math.max(1, cost(tidy(graph), graph)) : 1;
    return { layout: request.layout, ...flatten(withDetours(placed, graph), ids, pairs), fresh, gain };
  }

  private keep(layout: string, placed: Placed): void {
    this.layouts.delete(layout);
    this.layouts.set(layout, placed);
    const [oldest] = this.layouts.keys();
    if (this.layouts.size > LAYOUTS_MAX && oldest !== undefined) this.layouts.delete(oldest);
  }
}

function edgePairs(ids: readonly string[], edges: Uint32Array): [string, string][] {
  const pairs: [string, string][] = [];
  for (let i = 0; i + 1 < edges.length; i += 2) {
    const from = ids[edges[i] ?? 0];
    const to = ids[edges[i + 1] ?? 0];
    if (from !== undefined && to !== undefined) pairs.push([from, to]);
  }
  return pairs;
}

function flatten(placed: Placed, ids: readonly string[], pairs: readonly [string, string][]) {
  const xy = new Float64Array(ids.length * 2);
  ids.forEach((id, i) => {
    const point = placed.at.get(id);
    xy[2 * i] = point?.x ?? 0;
    xy[2 * i + 1] = point?.y ?? 0;
  });
  const bends = pairs.flatMap(([from, to], i) => {
    const corners = placed.bends.get(edgeKey(from, to));
    return corners ? [[i, ...corners.flatMap(({ x, y }) => [x, y])]] : [];
  });
  return { xy, bends };
}
