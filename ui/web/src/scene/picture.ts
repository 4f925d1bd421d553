/**
 * What of the scene to draw, and how finely: the level of detail. Everything outside the screen is left out; small
 * nodes become dots, edges hairlines, and labels are rationed.
 */
import { NODE_RADIUS } from "../layout/geometry";
import { toMap, type Camera, type Viewport } from "./camera";
import { STYLES, weightIn, WEIGHTS, type Style } from "./lines";
import type { EdgeItem, Item, Scene } from "./scene";

/** `dots`: coloured rectangles. `sprites`: prepared images. `shapes`: drawn out, with glyphs and shadows. */
export type Detail = "dots" | "sprites" | "shapes";

/** Edges of one style. */
export interface EdgeGroup {
  style: Style;
  edges: EdgeItem[];
}

export interface Picture {
  detail: Detail;
  /** Node radius in pixels. */
  radius: number;
  nodes: Item[];
  /** Ordinary edges, the lightest first, and those looked at, whose styles show. */
  edges: EdgeGroup[];
  standingEdges: EdgeGroup[];
  /** Edges of nodes not heard of, and those that give way to what is looked at. */
  staleEdges: EdgeItem[];
  fadedEdges: EdgeItem[];
  /** Ordinary edges may be thicker than a hairline only while they are few: see {@link WIDE_EDGES_MAX}. */
  wideEdges: boolean;
  /** Edges of this weight and above may be thick: the heaviest that are few enough. */
  thickFrom: number;
  arrows: boolean;
  labels: Item[];
}

/** Below this many pixels a node is a dot, and lines are too close together to point at one. */
export const DOT_RADIUS = 5;
const SHAPES_MAX = 260;
/** Lines over one device pixel cost ten times as much without a GPU; this many are still cheap. */
const WIDE_EDGES_MAX = 300;
const ARROWS_MAX = 700;
const ARROW_RADIUS = 9;
const LABEL_RADIUS = 11.5;
const LABELS_MAX = 300;

/** Pixels around the screen within which a node still shows: its label and shadow. */
const MARGIN_PX = 90;

export function choose(scene: Scene, camera: Camera, viewport: Viewport): Picture {
  const margin = MARGIN_PX / camera.zoom;
  const { x: left, y: top } = toMap(camera, viewport, { x: 0, y: 0 });
  const { x: right, y: bottom } = toMap(camera, viewport, { x: viewport.width, y: viewport.height });
  const nodes: Item[] = [];
  for (const item of scene.items.values()) {
    if (item.x < left - margin || item.x > right + margin) continue;
    if (item.y < top - margin || item.y > bottom + margin) continue;
    nodes.push(item);
  }
  const radius = NODE_RADIUS * camera.zoom;
  const ordinary = new Groups();
  const standing = new Groups();
  const staleEdges: EdgeItem[] = [];
  const fadedEdges: EdgeItem[] = [];
  for (const edge of scene.edges) {
    const { box } = edge;
    if (box.left > right || box.right < left || box.top > bottom || box.bottom < top) continue;
    if (edge.from.presence <= 0 || edge.to.presence <= 0) continue;
    if (scene.stands(edge)) standing.add(edge);
    else if (!isDrawn(edge, radius)) continue;
    else if (edge.from.shade < 0.99 || edge.to.shade < 0.99) fadedEdges.push(edge);
    else if (edge.from.face.stale ?? edge.to.face.stale) staleEdges.push(edge);
    else ordinary.add(edge);
  }
  const drawn = ordinary.size + staleEdges.length + fadedEdges.length;
  return {
    detail: radius < DOT_RADIUS ? "dots" : nodes.length > SHAPES_MAX || radius < 8 ? "sprites" : "shapes",
    radius,
    nodes,
    edges: ordinary.all,
    standingEdges: standing.all,
    staleEdges,
    fadedEdges,
    wideEdges: drawn <= WIDE_EDGES_MAX && radius >= ARROW_RADIUS,
    thickFrom: ordinary.heaviest(WIDE_EDGES_MAX),
    arrows: drawn <= ARROWS_MAX && radius >= ARROW_RADIUS,
    labels: radius >= LABEL_RADIUS ? labelled(scene, nodes) : [],
  };
}

/** Whether an ordinary edge is drawn where nodes have this radius. */
export function isDrawn(edge: EdgeItem, radius: number): boolean {
  return !edge.ofHub || radius >= LABEL_RADIUS;
}

/** Edges by style. */
class Groups {
  readonly all: EdgeGroup[] = [];
  size = 0;
  private readonly byStyle: (EdgeGroup | undefined)[] = Array(STYLES);

  add(edge: EdgeItem): void {
    this.size += 1;
    const group = this.byStyle[edge.style];
    if (group) return void group.edges.push(edge);
    const fresh = { style: edge.style, edges: [edge] };
    this.byStyle[edge.style] = fresh;
    this.all.push(fresh);
    this.all.sort((a, b) => weightIn(a.style) - weightIn(b.style));
  }

  /** The least weight from which on there are at most `max` edges. */
  heaviest(max: number): number {
    let room = max;
    let from = WEIGHTS;
    for (; from > 0; from--) {
      for (const { style, edges } of this.all) if (weightIn(style) === from - 1) room -= edges.length;
      if (room < 0) break;
    }
    return from;
  }
}

/** The nodes that get a label when there are too many for all. */
function labelled(scene: Scene, nodes: readonly Item[]): Item[] {
  if (nodes.length <= LABELS_MAX) return [...nodes];
  const weight = (item: Item): number =>
    (item.shadeTo === 1 ? 1e6 : 0) + (scene.focus.found?.has(item.id) ? 1e5 : 0) + item.degree;
  return [...nodes].sort((a, b) => weight(b) - weight(a)).slice(0, LABELS_MAX);
}
