/**
 * What of the scene to draw, and how finely: the level of detail. Everything outside the screen is left out; small
 * nodes become dots, edges hairlines, and labels are rationed.
 */
import { NODE_RADIUS } from "../layout/geometry";
import { toMap, type Camera, type Viewport } from "./camera";
import type { EdgeItem, Item, Scene } from "./scene";

/** `dots`: coloured rectangles. `sprites`: prepared images. `shapes`: drawn out, with glyphs and shadows. */
export type Detail = "dots" | "sprites" | "shapes";

export interface Picture {
  detail: Detail;
  /** Node radius in pixels. */
  radius: number;
  nodes: Item[];
  /** Ordinary edges, those of nodes not heard of, those fading into the background, and those of the node looked at. */
  edges: EdgeItem[];
  staleEdges: EdgeItem[];
  fadedEdges: EdgeItem[];
  standingEdges: EdgeItem[];
  /** Ordinary edges may be thicker than a hairline only while they are few: see {@link WIDE_EDGES_MAX}. */
  wideEdges: boolean;
  arrows: boolean;
  labels: Item[];
}

const DOT_RADIUS = 5;
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
  const edges: EdgeItem[] = [];
  const staleEdges: EdgeItem[] = [];
  const fadedEdges: EdgeItem[] = [];
  const standingEdges: EdgeItem[] = [];
  for (const edge of scene.edges) {
    const { box } = edge;
    if (box.left > right || box.right < left || box.top > bottom || box.bottom < top) continue;
    if (edge.from.presence <= 0 || edge.to.presence <= 0) continue;
    if (scene.stands(edge)) standingEdges.push(edge);
    else if (edge.ofHub && radius < LABEL_RADIUS) continue;
    else if (edge.from.shade < 0.99 || edge.to.shade < 0.99) fadedEdges.push(edge);
    else if (edge.from.face.stale ?? edge.to.face.stale) staleEdges.push(edge);
    else edges.push(edge);
  }
  const drawn = edges.length + staleEdges.length + fadedEdges.length;
  return {
    detail: radius < DOT_RADIUS ? "dots" : nodes.length > SHAPES_MAX || radius < 8 ? "sprites" : "shapes",
    radius,
    nodes,
    edges,
    staleEdges,
    fadedEdges,
    standingEdges,
    wideEdges: drawn <= WIDE_EDGES_MAX && radius >= ARROW_RADIUS,
    arrows: drawn <= ARROWS_MAX && radius >= ARROW_RADIUS,
    labels: radius >= LABEL_RADIUS ? labelled(scene, nodes) : [],
  };
}

/** The nodes that get a label when there are too many for all. */
function labelled(scene: Scene, nodes: readonly Item[]): Item[] {
  if (nodes.length <= LABELS_MAX) return [...nodes];
  const weight = (item: Item): number =>
    (item.shadeTo === 1 ? 1e6 : 0) + (scene.focus.found?.has(item.id) ? 1e5 : 0) + item.degree;
  return [...nodes].sort((a, b) => weight(b) - weight(a)).slice(0, LABELS_MAX);
}
