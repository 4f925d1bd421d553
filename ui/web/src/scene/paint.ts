/** Draws a chosen picture on a canvas. Decides nothing but strokes and fills. */
import { formatMetricShort } from "../model/format";
import { arrival } from "../layout/curve";
import type { Point } from "../layout/geometry";
import { toScreen, type Camera, type Viewport } from "./camera";
import { drawGrounds, drawTexts, FONT, labels } from "./labels";
import { drawNode, lookOf, Sprites } from "./nodes";
import type { Palette } from "./palette";
import type { EdgeGroup, Picture } from "./picture";
import { isFading, isOneSided, weightIn, widthOf } from "./lines";
import type { EdgeItem, Item, Scene } from "./scene";
import { trace } from "./shapes";

const GROUND_STEP = 28;
const EDGE_ALPHA = 0.75;
const HAIRLINE = 1;

/** How much of its strength a line keeps that is not seen any more. */
const FADING_SHARE = 0.4;

/** Edges looked at that may be wide and have arrows. */
const STANDING_WIDE_MAX = 300;

/** How a batch of edges is drawn. */
interface Pen {
  colour: string;
  alpha: number;
  width: number;
  arrows: "none" | "filled" | "open";
}

export interface Target {
  ctx: CanvasRenderingContext2D;
  viewport: Viewport;
  /** Device pixels per CSS pixel. */
  ratio: number;
}

export class Painter {
  private readonly sprites = new Sprites();
  private palette: Palette;

  constructor(palette: Palette) {
    this.palette = palette;
  }

  setPalette(palette: Palette): void {
    this.palette = palette;
    this.sprites.clear();
  }

  paint(target: Target, scene: Scene, camera: Camera, picture: Picture): void {
    const { ctx, viewport, ratio } = target;
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.globalAlpha = 1;
    ctx.fillStyle = this.palette.background;
    ctx.fillRect(0, 0, viewport.width, viewport.height);
    if (picture.detail === "shapes") this.ground(ctx, viewport, camera);
    this.edges(ctx, viewport, camera, picture);
    const named = labels(ctx, scene, camera, viewport, picture);
    drawGrounds(ctx, named, this.palette);
    if (picture.detail === "dots") this.dots(ctx, viewport, camera, picture);
    else this.nodes(target, camera, picture);
    this.rings(ctx, viewport, camera, scene, picture.radius);
    drawTexts(ctx, named, this.palette);
  }

  private ground(ctx: CanvasRenderingContext2D, viewport: Viewport, camera: Camera): void {
    const step = GROUND_STEP * camera.zoom * (camera.zoom < 0.6 ? 2 : 1);
    const origin = toScreen(camera, viewport, { x: 0, y: 0 });
    ctx.fillStyle = this.palette.ground;
    ctx.beginPath();
    for (let x = ((origin.x % step) + step) % step; x < viewport.width; x += step) {
      for (let y = ((origin.y % step) + step) % step; y < viewport.height; y += step)
        ctx.rect(x - 0.75, y - 0.75, 1.5, 1.5);
    }
    ctx.fill();
  }

  private edges(ctx: CanvasRenderingContext2D, viewport: Viewport, camera: Camera, picture: Picture): void {
    const draw = (edges: readonly EdgeItem[], pen: Pen): void => {
      if (edges.length === 0) return;
      ctx.globalAlpha = pen.alpha;
      ctx.strokeStyle = pen.colour;
      ctx.fillStyle = pen.colour;
      ctx.lineWidth = pen.width;
      this.strokeCurves(ctx, viewport, camera, edges);
      ctx.setLineDash([]);
      if (pen.arrows === "filled") this.fillArrows(ctx, viewport, camera, edges, pen.width);
      if (pen.arrows === "open") this.openArrows(ctx, viewport, camera, edges, pen.width);
    };
    const colour = this.palette.edge;
    const width = picture.wideEdges ? Math.min(1.8, 1.4 * Math.max(0.8, camera.zoom)) : HAIRLINE;
    const alpha = picture.detail === "dots" ? 0.45 : EDGE_ALPHA;
    const arrows = picture.arrows ? "filled" : "none";
    const faded = picture.fadedEdges.reduce((sum, edge) => Math.min(sum, edge.from.shade, edge.to.shade), 1);
    ctx.lineCap = "butt";
    draw(picture.fadedEdges, { colour, alpha: alpha * Math.max(0.14, faded), width, arrows: "none" });
    for (const group of picture.edges)
      draw(group.edges, this.pen(group, picture, camera.zoom, alpha, width, arrows));
    // Dashes cost as much as width does: only while edges are few.
    if (picture.wideEdges) ctx.setLineDash([4, 4]);
    draw(picture.staleEdges, { colour, alpha: alpha * 0.7, width, arrows });
    ctx.setLineDash([]);
    // A hub's own edges can be thousands: then they stay hairlines as well.
    const few = picture.standingEdges.reduce((sum, { edges }) => sum + edges.length, 0) <= STANDING_WIDE_MAX;
    for (const { style, edges } of picture.standingEdges) {
      draw(edges, {
        colour: this.palette.accent,
        alpha: few ? 1 : 0.6,
        width: few ? Math.max(2, widthOf(weightIn(style), camera.zoom)) : HAIRLINE,
        arrows: !few ? "none" : isOneSided(style) ? "open" : "filled",
      });
    }
    ctx.globalAlpha = 1;
  }

  /** How ordinary edges of one style are drawn. */
  private pen(
    { style }: EdgeGroup,
    picture: Picture,
    zoom: number,
    alpha: number,
    width: number,
    arrows: Pen["arrows"],
  ): Pen {
    const weight = weightIn(style);
    const thick = weight >= picture.thickFrom;
    return {
      colour: this.palette.weights[weight] ?? this.palette.edge,
      alpha: Math.min(1, alpha + 0.06 * weight) * (isFading(style) ? FADING_SHARE : 1),
      width: weight === 0 || !thick ? width : Math.max(width, widthOf(weight, zoom)),
      arrows: arrows !== "none" && isOneSided(style) ? "open" : arrows,
    };
  }

  private strokeCurves(
    ctx: CanvasRenderingContext2D,
    viewport: Viewport,
    camera: Camera,
    edges: readonly EdgeItem[],
  ): void {
    const { x: ox, y: oy } = toScreen(camera, viewport, { x: 0, y: 0 });
    const k = camera.zoom;
    ctx.beginPath();
    for (const { curve: c } of edges) {
      ctx.moveTo((c[0] ?? 0) * k + ox, (c[1] ?? 0) * k + oy);
      for (let i = 2; i + 5 < c.length; i += 6) {
        ctx.bezierCurveTo(
          (c[i] ?? 0) * k + ox,
          (c[i + 1] ?? 0) * k + oy,
          (c[i + 2] ?? 0) * k + ox,
          (c[i + 3] ?? 0) * k + oy,
          (c[i + 4] ?? 0) * k + ox,
          (c[i + 5] ?? 0) * k + oy,
        );
      }
    }
    ctx.stroke();
  }

  private fillArrows(
    ctx: CanvasRenderingContext2D,
    viewport: Viewport,
    camera: Camera,
    edges: readonly EdgeItem[],
    width: number,
  ): void {
    const length = arrowLength(width, camera.zoom);
    // A thick line ends inside its arrow.
    const lead = Math.max(2, width);
    ctx.beginPath();
    for (const { curve } of edges) {
      const end = { x: curve.at(-2) ?? 0, y: curve.at(-1) ?? 0 };
      const tip = toScreen(camera, viewport, end);
      const towards = arrival(curve);
      const back = { x: tip.x - towards.x * length, y: tip.y - towards.y * length };
      const half = length * 0.5;
      ctx.moveTo(tip.x + towards.x * lead, tip.y + towards.y * lead);
      ctx.lineTo(back.x - towards.y * half, back.y + towards.x * half);
      ctx.lineTo(back.x + towards.x * length * 0.25, back.y + towards.y * length * 0.25);
      ctx.lineTo(back.x + towards.y * half, back.y - towards.x * half);
      ctx.closePath();
    }
    ctx.fill();
  }

  /** Arrows of what one end alone tells of: two strokes. */
  private openArrows(
    ctx: CanvasRenderingContext2D,
    viewport: Viewport,
    camera: Camera,
    edges: readonly EdgeItem[],
    width: number,
  ): void {
    const length = arrowLength(width, camera.zoom);
    const half = length * 0.62;
    ctx.lineWidth = Math.max(1.2, Math.min(2.5, width));
    ctx.beginPath();
    for (const { curve } of edges) {
      const tip = toScreen(camera, viewport, { x: curve.at(-2) ?? 0, y: curve.at(-1) ?? 0 });
      const towards = arrival(curve);
      const back = { x: tip.x - towards.x * length, y: tip.y - towards.y * length };
      ctx.moveTo(back.x - towards.y * half, back.y + towards.x * half);
      ctx.lineTo(tip.x + towards.x, tip.y + towards.y);
      ctx.lineTo(back.x + towards.y * half, back.y - towards.x * half);
    }
    ctx.stroke();
  }

  /** Far out a node is a square of its colour; a state per colour costs less than one per node. */
  private dots(ctx: CanvasRenderingContext2D, viewport: Viewport, camera: Camera, picture: Picture): void {
    const side = Math.max(2, picture.radius * 1.7);
    const batches = new Map<string, Item[]>();
    for (const item of picture.nodes) {
      const runs = item.face.standing === "running";
      const faded = item.shade * item.presence < 0.6;
      const key = `${item.colour}|${faded ? "faded" : item.face.stale ? "stale" : runs ? "full" : "resting"}`;
      const batch = batches.get(key);
      if (batch) batch.push(item);
      else batches.set(key, [item]);
    }
    for (const [key, items] of batches) {
      const colour = items[0]?.colour ?? -1;
      ctx.fillStyle = this.palette.groups[colour] ?? this.palette.neutral;
      ctx.globalAlpha = key.endsWith("faded") ? 0.2 : key.endsWith("resting") ? 0.45 : 1;
      for (const item of items) {
        const at = toScreen(camera, viewport, item);
        ctx.fillRect(at.x - side / 2, at.y - side / 2, side, side);
      }
      if (key.endsWith("stale")) this.hollow(ctx, viewport, camera, items, side);
    }
    ctx.globalAlpha = 1;
  }

  /** Takes the middle out of squares: a frame is left of those not heard of, in whatever colour. */
  private hollow(
    ctx: CanvasRenderingContext2D,
    viewport: Viewport,
    camera: Camera,
    items: readonly Item[],
    side: number,
  ): void {
    const inner = side - 2;
    if (inner < 1) return;
    ctx.fillStyle = this.palette.background;
    for (const item of items) {
      const at = toScreen(camera, viewport, item);
      ctx.fillRect(at.x - inner / 2, at.y - inner / 2, inner, inner);
    }
  }

  private nodes(target: Target, camera: Camera, picture: Picture): void {
    const { ctx, viewport, ratio } = target;
    for (const item of picture.nodes) {
      const at = toScreen(camera, viewport, item);
      const look = lookOf(item, this.palette);
      const radius = picture.radius * (item.gone ? 1 : 0.7 + 0.3 * easeOut(item.presence));
      if (picture.detail === "sprites") this.sprites.draw(ctx, look, this.palette, at.x, at.y, radius, ratio);
      else drawNode(ctx, look, this.palette, at.x, at.y, radius);
      if (item.level && picture.radius >= 11.5) this.value(ctx, item, at, picture.radius);
    }
    ctx.globalAlpha = 1;
  }

  private value(ctx: CanvasRenderingContext2D, item: Item, at: Point, radius: number): void {
    if (!item.level) return;
    const size = Math.min(14, Math.max(9, radius * 0.42));
    ctx.font = `600 ${size}px ${FONT}`;
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    ctx.fillStyle = this.palette.text;
    const lift = item.face.stack ? radius * 0.15 : 0;
    ctx.fillText(formatMetricShort(item.level.format, item.level.value), at.x, at.y - lift + 0.5);
  }

  private rings(
    ctx: CanvasRenderingContext2D,
    viewport: Viewport,
    camera: Camera,
    scene: Scene,
    radius: number,
  ): void {
    const ring = (id: string | null, colour: string, width: number, gap: number): void => {
      const item = id === null ? undefined : scene.items.get(id);
      if (!item || item.gone) return;
      const at = toScreen(camera, viewport, item);
      const lift = item.face.stack ? radius * 0.15 : 0;
      ctx.strokeStyle = colour;
      ctx.lineWidth = width;
      ctx.beginPath();
      trace(ctx, item.outline.shape, at.x, at.y - lift, Math.max(radius, 3) + gap);
      ctx.stroke();
    };
    const { found, hover, selected, keyboard } = scene.focus;
    const { hoverEdge, selectedEdge } = scene;
    if (found && found.size <= 300) for (const id of found) ring(id, this.palette.found, 2, 4);
    ctx.globalAlpha = 0.35;
    ring(hover, this.palette.accent, 4, 4);
    ring(selected, this.palette.accent, 5, 5);
    ctx.globalAlpha = 1;
    ring(selected, this.palette.accent, 2, 4);
    ring(keyboard, this.palette.accent, 2.5, 8);
    for (const edge of [hoverEdge, selectedEdge]) {
      ring(edge?.from.id ?? null, this.palette.accent, 2, 4);
      ring(edge?.to.id ?? null, this.palette.accent, 2, 4);
    }
  }
}

function arrowLength(width: number, zoom: number): number {
  return (5.5 + width) * Math.min(1.3, Math.max(0.7, zoom));
}

function easeOut(t: number): number {
  return 1 - (1 - t) ** 3;
}
