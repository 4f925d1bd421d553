/** Draws a chosen picture on a canvas. Decides nothing but strokes and fills. */
import { formatMetricShort } from "../model/format";
import { arrival } from "../layout/curve";
import type { Point } from "../layout/geometry";
import { toScreen, type Camera, type Viewport } from "./camera";
import { drawGrounds, drawTexts, FONT, labels } from "./labels";
import { drawNode, lookOf, Sprites } from "./nodes";
import type { Palette } from "./palette";
import type { Picture } from "./picture";
import type { EdgeItem, Item, Scene } from "./scene";
import { trace } from "./shapes";

const GROUND_STEP = 28;
const EDGE_ALPHA = 0.75;

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
    const hairline = 1;
    ctx.lineCap = "butt";
    const draw = (
      edges: readonly EdgeItem[],
      colour: string,
      alpha: number,
      width: number,
      arrows: boolean,
    ): void => {
      if (edges.length === 0) return;
      ctx.globalAlpha = alpha;
      ctx.strokeStyle = colour;
      ctx.fillStyle = colour;
      ctx.lineWidth = width;
      this.strokeCurves(ctx, viewport, camera, edges);
      if (arrows) this.fillArrows(ctx, viewport, camera, edges, width);
    };
    const width = picture.wideEdges ? Math.min(1.8, 1.4 * Math.max(0.8, camera.zoom)) : hairline;
    const alpha = picture.detail === "dots" ? 0.45 : EDGE_ALPHA;
    const faded = picture.fadedEdges.reduce((sum, edge) => Math.min(sum, edge.from.shade, edge.to.shade), 1);
    draw(picture.fadedEdges, this.palette.edge, alpha * Math.max(0.14, faded), width, false);
    draw(picture.edges, this.palette.edge, alpha, width, picture.arrows);
    // Dashes cost as much as width does: only while edges are few.
    if (picture.wideEdges) ctx.setLineDash([4, 4]);
    draw(picture.staleEdges, this.palette.edge, alpha * 0.7, width, picture.arrows);
    ctx.setLineDash([]);
    // A hub's own edges can be thousands: then they stay hairlines as well.
    const few = picture.standingEdges.length <= 300;
    draw(picture.standingEdges, this.palette.accent, few ? 1 : 0.6, few ? 2 : hairline, few);
    ctx.globalAlpha = 1;
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
    const length = (5.5 + width) * Math.min(1.3, Math.max(0.7, camera.zoom));
    ctx.beginPath();
    for (const { curve } of edges) {
      const end = { x: curve.at(-2) ?? 0, y: curve.at(-1) ?? 0 };
      const tip = toScreen(camera, viewport, end);
      const towards = arrival(curve);
      const back = { x: tip.x - towards.x * length, y: tip.y - towards.y * length };
      const half = length * 0.5;
      ctx.moveTo(tip.x + towards.x * 2, tip.y + towards.y * 2);
      ctx.lineTo(back.x - towards.y * half, back.y + towards.x * half);
      ctx.lineTo(back.x + towards.x * length * 0.25, back.y + towards.y * length * 0.25);
      ctx.lineTo(back.x + towards.y * half, back.y - towards.x * half);
      ctx.closePath();
    }
    ctx.fill();
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
    if (found && found.size <= 300) for (const id of found) ring(id, this.palette.found, 2, 4);
    ctx.globalAlpha = 0.35;
    ring(hover, this.palette.accent, 4, 4);
    ring(selected, this.palette.accent, 5, 5);
    ctx.globalAlpha = 1;
    ring(selected, this.palette.accent, 2, 4);
    ring(keyboard, this.palette.accent, 2.5, 8);
  }
}

function easeOut(t: number): number {
  return 1 - (1 - t) ** 3;
}
