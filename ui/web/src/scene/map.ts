/**
 * The live map on a canvas: owns the camera, the frame loop, the pointer and the layout worker. Draws only when
 * something changed.
 */
import { LayoutClient } from "../layout/client";
import { NODE_RADIUS, type Point } from "../layout/geometry";
import type { LayoutReply, LayoutRequest } from "../layout/messages";
import type { EdgeFigures } from "../model/edges";
import { Graph } from "../model/graph";
import type { Level } from "../model/metrics";
import type { NodeSummary } from "../model/protocol";
import type { Lines } from "../model/url";
import { between, fit, panBy, reveal, toMap, toScreen, zoomAt, type Camera, type Viewport } from "./camera";
import { Painter } from "./paint";
import { PALETTES, type ThemeName } from "./palette";
import { choose, DOT_RADIUS, isDrawn } from "./picture";
import { Gestures } from "./gestures";
import { easeInOut, Scene, type Focus, type Item } from "./scene";

/** A node or an edge that the pointer is on. */
export type Pointed = { id: string } | { source: string; target: string };

export interface MapEvents {
  /** `at` is the pointer's place in CSS pixels. */
  onHover(what: Pointed | null, at: Point): void;
  /** A click on a node, an edge, or on nothing. */
  onSelect(what: Pointed | null): void;
  /** After a layout: where the nodes are, how much a tidy-up would gain, and how many nodes are off the screen. */
  onPlaced(places: ReadonlyMap<string, Point>, gain: number, outside: number): void;
  /** The user has asked to see the whole map. */
  onFit(): void;
}

export interface MapContent {
  topologyId: string;
  nodes: ReadonlyMap<string, NodeSummary>;
  graph: Graph;
  structure: number;
  /** What the nodes were asked for with. */
  options: Readonly<Record<string, string>>;
}

const ORIGIN: Point = { x: 0, y: 0 };

/** How near to an edge's line counts as on it. */
const EDGE_REACH_PX = 6;
const EDGE_REACH_COARSE_PX = 16;

const CAMERA_MS = 320;
const ZOOM_STEP = 1.35;
/** Cameras of other topologies kept, so that coming back shows what one left. */
const CAMERAS_MAX = 32;

export class MapView {
  readonly scene = new Scene();
  private readonly ctx: CanvasRenderingContext2D;
  private readonly painter = new Painter(PALETTES.light);
  private readonly layout = new LayoutClient((request, reply) => this.placed(request, reply));
  private readonly gestures: Gestures;
  private readonly cameras = new Map<string, { camera: Camera; touched: boolean }>();
  private camera: Camera = { x: 0, y: 0, zoom: 1 };
  private flight: { from: Camera; to: Camera; startMs: number } | null = null;
  private viewport: Viewport = { width: 1, height: 1, covered: 0 };
  private ratio = 1;
  private content: MapContent | null = null;
  private levels: ReadonlyMap<string, Level> = new Map();
  private frame = 0;
  /** Whether the current topology has been fitted to the screen. */
  private framed = false;
  /** Whether the user has panned or zoomed since the map was last fitted. */
  private touched = false;
  /** Other options have brought other nodes: the next layout is seen whole, unless the user has chosen a part. */
  private refit = false;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly events: MapEvents,
  ) {
    const ctx = canvas.getContext("2d", { alpha: false });
    if (!ctx) throw new Error("this browser has no 2D canvas");
    this.ctx = ctx;
    this.gestures = new Gestures(canvas, {
      pan: (dx, dy) => this.touch(panBy(this.camera, dx, dy)),
      zoom: (anchor, factor) => this.touch(zoomAt(this.camera, this.viewport, anchor, factor)),
      point: (at) => this.events.onHover(this.pointed(at, EDGE_REACH_PX), at ?? ORIGIN),
      click: (at, coarse) =>
        this.events.onSelect(this.pointed(at, coarse ? EDGE_REACH_COARSE_PX : EDGE_REACH_PX)),
      doubleClick: (at) => {
        this.touched = true;
        this.fly(zoomAt(this.camera, this.viewport, at, 1.8));
      },
    });
  }

  destroy(): void {
    cancelAnimationFrame(this.frame);
    this.gestures.release();
    this.layout.close();
  }

  resize(width: number, height: number, ratio: number): void {
    // Beyond two device pixels a pixel the eye sees no gain, and the processor pays.
    this.ratio = Math.min(2, ratio);
    this.viewport = { ...this.viewport, width, height };
    this.canvas.width = Math.round(width * this.ratio);
    this.canvas.height = Math.round(height * this.ratio);
    if (!this.framed) this.frameAll();
    else if (!this.touched) this.fitAtOnce();
    this.draw();
  }

  /** A panel covers the right of the map. The map stays; what is looked at is brought from under it. */
  cover(pixels: number): void {
    // The camera is the middle of the free part: shifting it by as much keeps every node in place.
    const shift = (pixels - this.viewport.covered) / 2;
    const shifted = (camera: Camera): Camera => ({ ...camera, x: camera.x - shift / camera.zoom });
    this.viewport = { ...this.viewport, covered: pixels };
    this.camera = shifted(this.camera);
    if (this.flight)
      this.flight = { ...this.flight, from: shifted(this.flight.from), to: shifted(this.flight.to) };
    this.revealSelected();
    this.draw();
  }

  setTheme(theme: ThemeName): void {
    this.painter.setPalette(PALETTES[theme]);
    this.draw();
  }

  /** The peer's clock, for ages. */
  setClock(clockMs: number): void {
    if (this.scene.setClock(clockMs)) this.draw();
  }

  setReducedMotion(reduced: boolean): void {
    this.scene.reducedMotion = reduced;
  }

  setContent(content: MapContent): void {
    const before = this.content;
    this.content = content;
    if (before && before.topologyId !== content.topologyId) this.switchTopology(before.topologyId);
    const same = before?.topologyId === content.topologyId;
    if (!same || before.structure !== content.structure) {
      this.refit ||= same && !sameOptions(before.options, content.options);
      this.requestLayout(false);
    }
    this.scene.refresh(content.nodes, this.levels);
    this.draw();
  }

  setLevels(levels: ReadonlyMap<string, Level>): void {
    this.levels = levels;
    if (this.content) this.scene.refresh(this.content.nodes, levels);
    this.draw();
  }

  /** Figures change how lines look, never where anything is. */
  setFigures(figures: EdgeFigures, lines: Lines): void {
    if (this.scene.setFigures(figures, lines)) this.draw();
  }

  setFocus(focus: Focus): void {
    const before = this.scene.focus;
    this.scene.setFocus(focus);
    if (focus.selected !== before.selected || focus.selectedEdge !== before.selectedEdge)
      this.revealSelected();
    if (focus.keyboard !== null && focus.keyboard !== before.keyboard) this.reveal(focus.keyboard);
    this.draw();
  }

  fit(): void {
    const bounds = this.scene.bounds();
    this.touched = false;
    if (bounds) this.fly(fit(bounds, this.viewport));
    this.events.onFit();
  }

  /** The colour a node has, or would have, on this map. */
  colourOf(node: NodeSummary, theme: ThemeName): string {
    const palette = PALETTES[theme];
    return palette.groups[this.scene.colourOf(node)] ?? palette.neutral;
  }

  zoomIn(): void {
    this.zoomBy(ZOOM_STEP);
  }

  zoomOut(): void {
    this.zoomBy(1 / ZOOM_STEP);
  }

  tidy(): void {
    this.requestLayout(true);
  }

  private zoomBy(factor: number): void {
    this.touched = true;
    const goal = this.flight?.to ?? this.camera;
    const middle = toScreen(goal, this.viewport, goal);
    this.fly(zoomAt(goal, this.viewport, middle, factor));
  }

  private switchTopology(before: string): void {
    if (this.framed) this.cameras.set(before, { camera: this.camera, touched: this.touched });
    if (this.cameras.size > CAMERAS_MAX) this.cameras.clear();
    this.scene.clear();
    this.framed = false;
    this.touched = false;
    this.refit = false;
    this.flight = null;
  }

  private requestLayout(tidy: boolean): void {
    if (!this.content) return;
    const { topologyId, nodes, graph } = this.content;
    const index = new Map([...nodes.keys()].map((id, i) => [id, i]));
    const edges: number[] = [];
    for (const [id, from] of index) {
      for (const server of graph.of(id).servers) edges.push(from, index.get(server) ?? from);
    }
    this.layout.request({
      layout: topologyId,
      nodes: [...nodes.values()].map((node) => ({ id: node.id, sort: `${node.rank}\u0000${node.label}` })),
      edges: Uint32Array.from(edges),
      tidy,
    });
  }

  private placed(request: LayoutRequest, reply: LayoutReply): void {
    if (!this.content || reply.layout !== this.content.topologyId) return;
    const ids = request.nodes.map((node) => node.id);
    const edges: [string, string][] = [];
    for (let i = 0; i + 1 < request.edges.length; i += 2) {
      edges.push([ids[request.edges[i] ?? 0] ?? "", ids[request.edges[i + 1] ?? 0] ?? ""]);
    }
    const { nodes, graph } = this.content;
    const whole = this.outside() === 0;
    const selected = this.selectedItem();
    const before = selected && { x: selected.x, y: selected.y };
    this.scene.place(ids, edges, reply, nodes, graph, performance.now());
    this.scene.refresh(nodes, this.levels);
    const empty = this.scene.items.size === 0;
    if (!this.framed && !empty) this.frameAll();
    else if (this.refit && !empty && ids.length === nodes.size) this.fitAnew();
    else if (reply.fresh && !empty) this.follow(before, whole);
    const places = new Map(
      ids.map((id, i) => [id, { x: reply.xy[2 * i] ?? 0, y: reply.xy[2 * i + 1] ?? 0 }]),
    );
    this.events.onPlaced(places, reply.gain, this.outside());
    this.draw();
  }

  /**
   * After a tidy-up: the selected node stays where it is on the screen; without one, a map that was seen whole is
   * seen whole again. The zoom of one who looks at a part stays.
   */
  private follow(before: Point | undefined, whole: boolean): void {
    const after = this.selectedItem()?.to;
    const { camera } = this;
    if (before && after)
      this.fly({ ...camera, x: camera.x + after.x - before.x, y: camera.y + after.y - before.y });
    else if (whole) this.fit();
  }

  /** Once the layout of the nodes that other options brought is here. */
  private fitAnew(): void {
    this.refit = false;
    if (!this.touched) this.fit();
  }

  private fitAtOnce(): void {
    const bounds = this.scene.bounds();
    if (!bounds) return;
    this.move(fit(bounds, this.viewport));
    this.events.onFit();
  }

  private selectedItem(): Item | undefined {
    const { selected } = this.scene.focus;
    return selected === null ? undefined : this.scene.items.get(selected);
  }

  /** The first view of a topology: where one left it, or all of it. */
  private frameAll(): void {
    const bounds = this.scene.bounds();
    if (!bounds || !this.content || this.viewport.width <= 1) return;
    const left = this.cameras.get(this.content.topologyId);
    this.camera = left?.camera ?? fit(bounds, this.viewport);
    this.touched = left?.touched ?? false;
    this.framed = true;
  }

  /** Nodes off the screen, once camera and nodes have come to rest. */
  private outside(): number {
    const camera = this.flight?.to ?? this.camera;
    let count = 0;
    for (const item of this.scene.items.values()) {
      const at = toScreen(camera, this.viewport, item.to);
      const inside = at.x >= 0 && at.y >= 0 && at.x <= this.viewport.width && at.y <= this.viewport.height;
      if (!inside && !item.gone) count += 1;
    }
    return count;
  }

  private revealSelected(): void {
    const item = this.selectedItem();
    const edge = this.scene.selectedEdge;
    if (item) this.reveal(item.id);
    else if (edge)
      this.revealPoint({ x: (edge.from.to.x + edge.to.to.x) / 2, y: (edge.from.to.y + edge.to.to.y) / 2 });
  }

  private reveal(id: string): void {
    const item = this.scene.items.get(id);
    if (item) this.revealPoint(item.to);
  }

  private revealPoint(point: Point): void {
    const goal = reveal(this.flight?.to ?? this.camera, this.viewport, point, 90);
    if (goal.x !== this.camera.x || goal.y !== this.camera.y) this.fly(goal);
  }

  /** What is at a place of the screen: a node before an edge. */
  private pointed(at: Point | null, reachPx: number): Pointed | null {
    if (!at) return null;
    const { zoom } = this.camera;
    const point = toMap(this.camera, this.viewport, at);
    const node = this.scene.hit(point, 5 / zoom);
    if (node) return { id: node.id };
    const radius = NODE_RADIUS * zoom;
    if (radius < DOT_RADIUS) return null;
    const edge = this.scene.hitEdge(point, reachPx / zoom, (one) => isDrawn(one, radius));
    return edge && { source: edge.from.id, target: edge.to.id };
  }

  private touch(camera: Camera): void {
    this.touched = true;
    this.move(camera);
  }

  private move(camera: Camera): void {
    this.flight = null;
    this.camera = camera;
    this.draw();
  }

  private fly(to: Camera): void {
    if (this.scene.reducedMotion) return this.move(to);
    this.flight = { from: this.camera, to, startMs: performance.now() };
    this.draw();
  }

  /** Asks for a frame; any number of calls make one. */
  private draw(): void {
    if (this.frame === 0) this.frame = requestAnimationFrame((nowMs) => this.drawNow(nowMs));
  }

  private drawNow(nowMs: number): void {
    this.frame = 0;
    const flying = this.tickFlight(nowMs);
    const busy = this.scene.tick(nowMs);
    const picture = choose(this.scene, this.camera, this.viewport);
    this.painter.paint(
      { ctx: this.ctx, viewport: this.viewport, ratio: this.ratio },
      this.scene,
      this.camera,
      picture,
    );
    if (flying || busy) this.draw();
  }

  private tickFlight(nowMs: number): boolean {
    if (!this.flight) return false;
    const t = Math.min(1, Math.max(0, (nowMs - this.flight.startMs) / CAMERA_MS));
    this.camera = between(this.flight.from, this.flight.to, easeInOut(t));
    if (t >= 1) this.flight = null;
    return t < 1;
  }
}

function sameOptions(a: MapContent["options"], b: MapContent["options"]): boolean {
  const keys = Object.keys({ ...a, ...b });
  return keys.every((key) => a[key] === b[key]);
}
