/** Draws single nodes: drawn out when there are few, from prepared images when there are many. */
import type { Face, Standing } from "../model/face";
import { glyphOf, traceGlyph } from "./glyphs";
import type { Palette } from "./palette";
import type { Item } from "./scene";
import { trace, traceInner, type Outline } from "./shapes";

export type Canvas2D = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;

/** What decides how a node looks, apart from where it is. */
interface Look {
  outline: Outline;
  colour: string;
  /** Drawn as a stack; a group of one is a group without a stack. */
  stack: boolean;
  group: boolean;
  standing: Standing;
  stale: Face["stale"];
  pseudo: boolean;
  /** Of a known service. */
  icon: string;
  /** 0 to 1; -1 when no metric is shown. */
  level: number;
  /** Prominence and presence, as of the item. */
  shade: number;
  presence: number;
}

export function lookOf(item: Item, palette: Palette): Look {
  return {
    outline: item.outline,
    colour: palette.groups[item.colour] ?? palette.neutral,
    stack: item.face.stack,
    group: item.node.stack,
    standing: item.face.standing,
    stale: item.face.stale,
    pseudo: item.node.pseudo,
    icon: item.node.icon,
    level: item.level ? item.level.level : -1,
    shade: item.shade,
    presence: item.presence,
  };
}

/** Offset of each card of a stack below the front one, as a share of the radius. */
const STACK_STEPS = [0.3, 0.15];

/** One node drawn out around (x, y), without its labels. Sets the alpha. */
export function drawNode(
  ctx: Canvas2D,
  look: Look,
  palette: Palette,
  x: number,
  y: number,
  radius: number,
): void {
  const line = Math.min(2.5, Math.max(1.1, radius * 0.075));
  const lift = look.stack ? radius * 0.15 : 0;
  ctx.globalAlpha = look.shade * look.presence;
  if (look.stack) {
    for (const step of STACK_STEPS)
      outline(ctx, look, palette, x, y + radius * step - lift, radius, line, 0.55);
  }
  outline(ctx, look, palette, x, y - lift, radius, line, 1);
  if (look.level >= 0) drawLevel(ctx, look, x, y - lift, radius);
  else drawGlyph(ctx, look, x, y - lift, radius);
  if (look.stale) drawClock(ctx, look, palette, x, y - lift, radius);
  else if (look.standing === "paused") drawPause(ctx, look, palette, x, y - lift, radius);
}

function outline(
  ctx: Canvas2D,
  look: Look,
  palette: Palette,
  x: number,
  y: number,
  radius: number,
  line: number,
  strength: number,
): void {
  const alpha = ctx.globalAlpha;
  const runs = look.standing === "running" && !look.stale;
  ctx.beginPath();
  trace(ctx, look.outline.shape, x, y, radius);
  if (look.shade < 1) {
    // Faded, not transparent: nothing behind a node shows through it.
    ctx.globalAlpha = look.presence;
    ctx.fillStyle = palette.background;
    ctx.fill();
    ctx.globalAlpha = alpha;
  }
  if (radius > 16 && strength === 1 && runs) {
    ctx.shadowColor = palette.shadow;
    ctx.shadowBlur = radius * 0.4;
    ctx.shadowOffsetY = radius * 0.1;
  }
  ctx.fillStyle = runs ? palette.surface : palette.background;
  ctx.fill();
  ctx.shadowColor = "transparent";
  ctx.shadowBlur = 0;
  ctx.shadowOffsetY = 0;
  if (runs) {
    ctx.globalAlpha = alpha * palette.tint;
    ctx.fillStyle = look.colour;
    ctx.fill();
  }
  if (look.stale && strength === 1) {
    drawHatch(ctx, look, x, y, radius);
    ctx.beginPath();
    trace(ctx, look.outline.shape, x, y, radius);
  }
  ctx.globalAlpha = alpha * strength * staleAlpha(look);
  ctx.strokeStyle = look.colour;
  ctx.lineWidth = line;
  ctx.lineJoin = "round";
  ctx.setLineDash(dashes(look, line));
  ctx.stroke();
  ctx.setLineDash([]);
  ctx.beginPath();
  traceInner(ctx, look.outline.shape, x, y, radius);
  ctx.stroke();
  ctx.globalAlpha = alpha;
}

function dashes(look: Look, line: number): number[] {
  if (look.standing !== "running") return [line * 3.2, line * 2.4];
  return look.outline.dotted || look.pseudo ? [line * 2, line * 1.8] : [];
}

/** How strongly what is not heard of is drawn: it fades, but its lines must still be told from the ground. */
function staleAlpha(look: Look): number {
  if (!look.stale) return 1;
  return look.stale === "gone" ? 0.6 : 0.8;
}

/** Slanting lines all over a node that is not heard of; a node that is gone has twice as many. */
function drawHatch(ctx: Canvas2D, look: Look, x: number, y: number, radius: number): void {
  const alpha = ctx.globalAlpha;
  const reach = radius * 1.2;
  const step = Math.max(2.5, radius * (look.stale === "gone" ? 0.2 : 0.4));
  ctx.save();
  ctx.beginPath();
  trace(ctx, look.outline.shape, x, y, radius);
  ctx.clip();
  ctx.globalAlpha = alpha * 0.4;
  ctx.strokeStyle = look.colour;
  ctx.lineWidth = Math.max(0.75, radius * 0.04);
  ctx.beginPath();
  for (let offset = -2 * reach; offset <= 2 * reach; offset += step) {
    ctx.moveTo(x + offset - reach, y + reach);
    ctx.lineTo(x + offset + reach, y - reach);
  }
  ctx.stroke();
  ctx.restore();
}

/** A small clock at the upper right: how old this is stands below. */
function drawClock(ctx: Canvas2D, look: Look, palette: Palette, x: number, y: number, radius: number): void {
  if (radius < 7) return;
  const size = Math.max(4, radius * 0.34);
  const [cx, cy] = [x + radius * 0.76, y - radius * 0.7];
  ctx.beginPath();
  ctx.arc(cx, cy, size, 0, 2 * Math.PI);
  ctx.fillStyle = palette.background;
  ctx.fill();
  ctx.strokeStyle = look.colour;
  ctx.lineWidth = Math.max(1, size * 0.2);
  ctx.stroke();
  ctx.beginPath();
  ctx.moveTo(cx, cy - size * 0.55);
  ctx.lineTo(cx, cy);
  ctx.lineTo(cx + size * 0.4, cy + size * 0.25);
  ctx.stroke();
}

/** Two bars in a small disc at the lower right. */
function drawPause(ctx: Canvas2D, look: Look, palette: Palette, x: number, y: number, radius: number): void {
  if (radius < 5) return;
  const size = Math.max(4, radius * 0.36);
  const [cx, cy] = [x + radius * 0.72, y + radius * 0.62];
  ctx.beginPath();
  ctx.arc(cx, cy, size, 0, 2 * Math.PI);
  ctx.fillStyle = look.colour;
  ctx.fill();
  ctx.fillStyle = palette.background;
  for (const side of [-0.45, 0.15]) ctx.fillRect(cx + side * size, cy - size * 0.5, size * 0.3, size);
}

function drawLevel(ctx: Canvas2D, look: Look, x: number, y: number, radius: number): void {
  const alpha = ctx.globalAlpha;
  ctx.save();
  ctx.beginPath();
  trace(ctx, look.outline.shape, x, y, radius);
  ctx.clip();
  ctx.globalAlpha = alpha * 0.42;
  ctx.fillStyle = look.colour;
  // Any value above nothing shows as a line at least.
  const height = look.level > 0 ? Math.max(0.06, look.level) * 2 * radius : 0;
  ctx.fillRect(x - 1.5 * radius, y + radius - height, 3 * radius, height + radius);
  ctx.restore();
}

function drawGlyph(ctx: Canvas2D, look: Look, x: number, y: number, radius: number): void {
  const glyph = glyphOf(look.outline.shape, look.group, look.pseudo, look.icon);
  if (radius < 9 || glyph.length === 0) return;
  ctx.beginPath();
  traceGlyph(ctx, glyph, x, y + (look.outline.shape === "cloud" ? radius * 0.04 : 0), radius * 0.36);
  ctx.strokeStyle = look.colour;
  ctx.lineWidth = Math.max(1, radius * 0.062);
  ctx.lineCap = "round";
  ctx.lineJoin = "round";
  const alpha = ctx.globalAlpha;
  if (look.standing !== "running" || look.stale) ctx.globalAlpha = alpha * 0.5;
  ctx.stroke();
  ctx.globalAlpha = alpha;
}

/** Radii images are prepared for, in device pixels; drawn scaled to what is needed. */
const SPRITE_RADII = [10, 20, 40];
const LEVEL_STEPS = 8;

/** Images kept. Ten shapes in eight colours with nine levels are below it; what comes after begins anew. */
const SPRITES_MAX = 1024;

/** Side of an image in radii: room for the stack's cards and the line. */
const SPRITE_SIDE = 3;

export class Sprites {
  private readonly images = new Map<string, OffscreenCanvas>();

  clear(): void {
    this.images.clear();
  }

  /** One node from its image. `ratio` is device pixels per CSS pixel. */
  draw(
    ctx: Canvas2D,
    look: Look,
    palette: Palette,
    x: number,
    y: number,
    radius: number,
    ratio: number,
  ): void {
    const prepared = SPRITE_RADII.find((size) => size >= radius * ratio) ?? 40;
    const step = look.level < 0 ? -1 : Math.round(look.level * LEVEL_STEPS);
    const key = `${look.outline.shape}${look.outline.dotted ? "." : ""}${look.pseudo ? "~" : ""}${look.stack ? "=" : ""}${look.group ? "+" : ""}${look.icon}${look.standing}${look.stale ?? ""}|${look.colour}|${step}|${prepared}`;
    let image = this.images.get(key);
    if (!image) {
      image = prepare(
        { ...look, shade: 1, presence: 1, level: step < 0 ? -1 : step / LEVEL_STEPS },
        palette,
        prepared,
      );
      if (this.images.size >= SPRITES_MAX) this.images.clear();
      this.images.set(key, image);
    }
    const side = SPRITE_SIDE * radius;
    ctx.globalAlpha = look.shade * look.presence;
    ctx.drawImage(image, x - side / 2, y - side / 2, side, side);
  }
}

function prepare(look: Look, palette: Palette, radius: number): OffscreenCanvas {
  const side = SPRITE_SIDE * radius;
  const image = new OffscreenCanvas(side, side);
  const ctx = image.getContext("2d");
  // Without a shadow: thousands of them are noise.
  if (ctx) drawNode(ctx, look, { ...palette, shadow: "transparent" }, side / 2, side / 2, radius);
  return image;
}
