/**
 * What is on the map and how it stands out, over time: nodes that appear and fade, edges as curves, the tidy-up as a
 * move from old places to new. Knows no canvas; `picture.ts` chooses what of it to draw, `paint.ts` draws.
 */
import { edgeKey, NODE_RADIUS, type Point } from "../layout/geometry";
import { bounds, type Bounds } from "../layout/pack";
import type { LayoutReply } from "../layout/messages";
import type { Graph } from "../model/graph";
import type { Level } from "../model/metrics";
import { faceOf, type Face } from "../model/face";
import type { NodeSummary } from "../model/protocol";
import { distanceTo, edgeCurve, loopCurve } from "../layout/curve";
import { NO_FIGURES, type EdgeFigures } from "../model/edges";
import type { Lines } from "../model/url";
import { styleOf, type Style } from "./lines";
import { ColourBook, PALETTES } from "./palette";
import { outlineOf, type Outline } from "./shapes";

export interface Item {
  readonly id: string;
  node: NodeSummary;
  outline: Outline;
  face: Face;
  /** Index into the palette's groups; -1 is neutral. */
  colour: number;
  x: number;
  y: number;
  from: Point;
  to: Point;
  degree: number;
  /** Prominence, 1 is full; moves towards `shadeTo`. */
  shade: number;
  shadeTo: number;
  /** 0 as it appears, 1 when it is there, back to 0 when it has gone. */
  presence: number;
  gone: boolean;
  level: Level | null;
  /** Labels as they fit, by width; the painter's. */
  fitted: { key: string; label: string; minor: string } | null;
}

export interface EdgeItem {
  /** As of {@link edgeKey}. */
  key: string;
  from: Item;
  to: Item;
  corners: Point[];
  mutual: boolean;
  /** One of a hub's many: left out when zoomed out. */
  ofHub: boolean;
  style: Style;
  curve: Float64Array;
  box: Bounds;
}

export interface Focus {
  hover: string | null;
  selected: string | null;
  keyboard: string | null;
  /** Keys of edges. */
  hoverEdge: string | null;
  selectedEdge: string | null;
  /** Nodes a search found; `null` is no search. */
  found: ReadonlySet<string> | null;
}

export const NO_FOCUS: Focus = {
  hover: null,
  selected: null,
  keyboard: null,
  hoverEdge: null,
  selectedEdge: null,
  found: null,
};

const APPEAR_MS = 260;
/** Long enough to notice what went, also for a container that lived a second. */
const FADE_MS = 2400;
const MOVE_MS = 450;
const SHADE_MS = 150;

/** Shade of what is not looked at. */
const FADED = { hover: 0.35, selected: 0.2, found: 0.22 };

const CELL = 160;

export class Scene {
  readonly items = new Map<string, Item>();
  edges: EdgeItem[] = [];
  focus: Focus = NO_FOCUS;
  /** The edges of the focus, where the map has them. */
  hoverEdge: EdgeItem | null = null;
  selectedEdge: EdgeItem | null = null;
  reducedMotion = false;
  private readonly colours = new ColourBook(PALETTES.light.groups.length);
  private graph: Graph | null = null;
  private figures: EdgeFigures = NO_FIGURES;
  private lines: Lines = "plain";
  private moveStart: number | null = null;
  /** The peer's clock: ages are as of then. */
  private clockMs = 0;
  private lastTick = 0;
  private cells: Map<string, Item[]> | null = null;

  clear(): void {
    this.items.clear();
    this.edges = [];
    this.focus = NO_FOCUS;
    this.hoverEdge = null;
    this.selectedEdge = null;
    this.graph = null;
    this.figures = NO_FIGURES;
    this.moveStart = null;
    this.cells = null;
  }

  /** New labels, shapes and metrics of nodes that are there. */
  refresh(nodes: ReadonlyMap<string, NodeSummary>, levels: ReadonlyMap<string, Level>): void {
    for (const item of this.items.values()) {
      const node = nodes.get(item.id);
      item.level = levels.get(item.id) ?? null;
      if (!node || node === item.node) continue;
      const face = faceOf(node, this.clockMs);
      if (node.label !== item.node.label || face.minor !== item.face.minor) item.fitted = null;
      item.node = node;
      item.face = face;
      item.outline = outlineOf(node.shape);
      item.colour = this.colourOf(node);
    }
  }

  /** New figures of edges, or another meaning of their lines; returns whether a line looks otherwise now. */
  setFigures(figures: EdgeFigures, lines: Lines): boolean {
    this.figures = figures;
    this.lines = lines;
    let changed = false;
    for (const edge of this.edges) {
      const style = styleOf(figures.get(edge.key), lines);
      changed ||= style !== edge.style;
      edge.style = style;
    }
    return changed;
  }

  /** Sets the peer's clock; returns whether a label has become another one. */
  setClock(clockMs: number): boolean {
    this.clockMs = clockMs;
    let changed = false;
    for (const item of this.items.values()) {
      if (!item.node.stale) continue;
      const face = faceOf(item.node, clockMs);
      if (face.age === item.face.age) continue;
      item.face = face;
      item.fitted = null;
      changed = true;
    }
    return changed;
  }

  /** Takes over a layout: `ids[i]` is at `reply.xy[2i]`. Nodes that are no longer in `nodes` fade. */
  place(
    ids: readonly string[],
    edges: readonly (readonly [string, string])[],
    reply: LayoutReply,
    nodes: ReadonlyMap<string, NodeSummary>,
    graph: Graph,
    nowMs: number,
  ): void {
    this.graph = graph;
    let moved = false;
    ids.forEach((id, i) => {
      const node = nodes.get(id);
      if (!node) return;
      const to = { x: reply.xy[2 * i] ?? 0, y: reply.xy[2 * i + 1] ?? 0 };
      moved = this.put(node, to, graph) || moved;
    });
    for (const item of this.items.values()) item.gone = !nodes.has(item.id);
    this.connect(edges, reply.bends, graph);
    if (moved) this.moveStart = this.reducedMotion ? null : nowMs;
    if (moved && this.reducedMotion) this.settle(1);
    this.cells = null;
    this.setFocus(this.focus);
  }

  setFocus(focus: Focus): void {
    this.focus = focus;
    const { hover, selected, found } = focus;
    const looked = hover ?? selected;
    this.hoverEdge = this.edgeOf(focus.hoverEdge);
    this.selectedEdge = this.edgeOf(focus.selectedEdge);
    const ends = this.selectedEdge && [this.selectedEdge.from.id, this.selectedEdge.to.id];
    let kept: ReadonlySet<string> | null = found;
    let faded = FADED.found;
    if (looked && this.items.has(looked)) {
      kept = this.graph?.neighbourhood(looked) ?? null;
      faded = hover && !selected && !ends && !found ? FADED.hover : FADED.selected;
    } else if (ends) {
      kept = new Set(ends);
      faded = FADED.selected;
    }
    for (const item of this.items.values()) {
      const keep = !kept || kept.has(item.id) || item.id === selected || ends?.includes(item.id);
      item.shadeTo = keep ? 1 : faded;
      if (this.reducedMotion) item.shade = item.shadeTo;
    }
  }

  /** Whether an edge belongs to what is looked at. */
  stands(edge: EdgeItem): boolean {
    if (edge === this.hoverEdge || edge === this.selectedEdge) return true;
    const looked = this.focus.hover ?? this.focus.selected;
    return looked !== null && (edge.from.id === looked || edge.to.id === looked);
  }

  /** Moves all animations to `nowMs`; returns whether any goes on. */
  tick(nowMs: number): boolean {
    const passed = Math.min(100, Math.max(0, nowMs - this.lastTick));
    this.lastTick = nowMs;
    let busy = this.tickMove(nowMs);
    for (const item of this.items.values()) {
      if (item.presence < 1 || item.gone) busy = this.tickPresence(item, passed) || busy;
      if (item.shade === item.shadeTo) continue;
      item.shade = towards(item.shade, item.shadeTo, passed / SHADE_MS);
      busy = true;
    }
    return busy;
  }

  /** The topmost node at a point of the map, within its shape or `slack` map units around it. */
  hit(point: Point, slack: number): Item | null {
    this.cells ??= this.buildCells();
    const reach = NODE_RADIUS + slack;
    let best: Item | null = null;
    let nearest = reach;
    const span = Math.ceil(reach / CELL);
    const [column, row] = [Math.floor(point.x / CELL), Math.floor(point.y / CELL)];
    for (let i = column - span; i <= column + span; i++) {
      for (let j = row - span; j <= row + span; j++) {
        for (const item of this.cells.get(`${i},${j}`) ?? []) {
          const distance = Math.hypot(item.x - point.x, item.y - point.y);
          if (item.gone || distance > nearest) continue;
          nearest = distance;
          best = item;
        }
      }
    }
    return best;
  }

  /** The edge whose line is nearest to a point of the map, of those within `reach` that `isDrawn` lets through. */
  hitEdge(point: Point, reach: number, isDrawn: (edge: EdgeItem) => boolean): EdgeItem | null {
    let best: EdgeItem | null = null;
    let nearest = reach;
    for (const edge of this.edges) {
      const { box } = edge;
      if (point.x < box.left - reach || point.x > box.right + reach) continue;
      if (point.y < box.top - reach || point.y > box.bottom + reach) continue;
      if (edge.from.gone || edge.to.gone || !isDrawn(edge)) continue;
      const distance = distanceTo(edge.curve, point.x, point.y, nearest);
      if (distance > nearest) continue;
      nearest = distance;
      best = edge;
    }
    return best;
  }

  /** Where the nodes will be when all has come to rest; `null` without nodes. */
  bounds(): Bounds | null {
    const points = [...this.items.values()].filter((item) => !item.gone).map((item) => item.to);
    return points.length === 0 ? null : bounds(points);
  }

  private put(node: NodeSummary, to: Point, graph: Graph): boolean {
    const item = this.items.get(node.id);
    if (!item) {
      this.items.set(node.id, this.newItem(node, to, graph));
      return false;
    }
    item.node = node;
    item.face = faceOf(node, this.clockMs);
    item.fitted = null;
    item.degree = graph.degree(node.id);
    item.from = { x: item.x, y: item.y };
    item.to = to;
    return item.x !== to.x || item.y !== to.y;
  }

  private newItem(node: NodeSummary, to: Point, graph: Graph): Item {
    return {
      id: node.id,
      node,
      outline: outlineOf(node.shape),
      face: faceOf(node, this.clockMs),
      colour: this.colourOf(node),
      x: to.x,
      y: to.y,
      from: to,
      to,
      degree: graph.degree(node.id),
      shade: 1,
      shadeTo: 1,
      presence: this.reducedMotion ? 1 : 0,
      gone: false,
      level: null,
      fitted: null,
    };
  }

  /** Index into the palette's groups; -1 is neutral. */
  colourOf(node: NodeSummary): number {
    return node.pseudo ? -1 : this.colours.indexOf(node.rank || node.label);
  }

  private connect(
    edges: readonly (readonly [string, string])[],
    bends: readonly number[][],
    graph: Graph,
  ): void {
    const cornersOf = new Map(bends.map(([edge, ...xy]) => [edge, pointsOf(xy)]));
    const hub = Math.max(24, 1.5 * Math.sqrt(this.items.size));
    const loops = [...graph.loops].map((id) => [id, id] as const);
    this.edges = [...edges, ...loops].flatMap(([fromId, toId], i) => {
      const from = this.items.get(fromId);
      const to = this.items.get(toId);
      if (!from || !to) return [];
      const mutual = graph.of(toId).servers.includes(fromId);
      const key = edgeKey(fromId, toId);
      const edge: EdgeItem = {
        key,
        from,
        to,
        corners: cornersOf.get(i) ?? [],
        mutual,
        ofHub: this.items.size > 200 && Math.max(from.degree, to.degree) > hub,
        style: styleOf(this.figures.get(key), this.lines),
        curve: new Float64Array(0),
        box: { left: 0, top: 0, right: 0, bottom: 0 },
      };
      bend(edge, true);
      return [edge];
    });
  }

  private edgeOf(key: string | null): EdgeItem | null {
    return key === null ? null : (this.edges.find((edge) => edge.key === key) ?? null);
  }

  private tickMove(nowMs: number): boolean {
    if (this.moveStart === null) return false;
    const t = Math.min(1, (nowMs - this.moveStart) / MOVE_MS);
    if (t >= 1) this.moveStart = null;
    this.settle(easeInOut(t));
    return true;
  }

  private settle(t: number): void {
    for (const item of this.items.values()) {
      item.x = item.from.x + (item.to.x - item.from.x) * t;
      item.y = item.from.y + (item.to.y - item.from.y) * t;
      if (t >= 1) item.from = item.to;
    }
    for (const edge of this.edges) bend(edge, t >= 1);
    this.cells = null;
  }

  private tickPresence(item: Item, passedMs: number): boolean {
    item.presence = towards(item.presence, item.gone ? 0 : 1, passedMs / (item.gone ? FADE_MS : APPEAR_MS));
    if (item.gone && item.presence <= 0) {
      this.items.delete(item.id);
      this.cells = null;
    }
    return true;
  }

  private buildCells(): Map<string, Item[]> {
    const cells = new Map<string, Item[]>();
    for (const item of this.items.values()) {
      const key = `${Math.floor(item.x / CELL)},${Math.floor(item.y / CELL)}`;
      const cell = cells.get(key);
      if (cell) cell.push(item);
      else cells.set(key, [item]);
    }
    return cells;
  }
}

/** Draws an edge anew. While its ends move, its corners, which belong to the new places, are left out. */
function bend(edge: EdgeItem, settled: boolean): void {
  edge.curve =
    edge.from === edge.to
      ? loopCurve(edge.from)
      : edgeCurve(edge.from, edge.to, settled ? edge.corners : [], edge.mutual);
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i + 1 < edge.curve.length; i += 2) {
    const [x, y] = [edge.curve[i] ?? 0, edge.curve[i + 1] ?? 0];
    left = Math.min(left, x);
    right = Math.max(right, x);
    top = Math.min(top, y);
    bottom = Math.max(bottom, y);
  }
  edge.box = { left, top, right, bottom };
}

function pointsOf(xy: readonly number[]): Point[] {
  const points: Point[] = [];
  for (let i = 0; i + 1 < xy.length; i += 2) points.push({ x: xy[i] ?? 0, y: xy[i + 1] ?? 0 });
  return points;
}

function towards(value: number, target: number, step: number): number {
  return value < target ? Math.min(target, value + step) : Math.max(target, value - step);
}

export function easeInOut(t: number): number {
  return t < 0.5 ? 4 * t ** 3 : 1 - (-2 * t + 2) ** 3 / 2;
}
