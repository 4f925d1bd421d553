/** Names under the nodes: first their ground, which interrupts the edges behind, later their text over all. */
import { GAP_X, type Point } from "../layout/geometry";
import { toScreen, type Camera, type Viewport } from "./camera";
import type { Palette } from "./palette";
import type { Picture } from "./picture";
import type { Item, Scene } from "./scene";

export const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';

/** Size of a label that stands out where the others are not drawn. */
const POINTED_PX = 13;

export interface Label {
  at: Point;
  label: string;
  minor: string;
  /** Font size in pixels. */
  size: number;
  /** Half the width and the lower end of the ground, in pixels. */
  half: number;
  bottom: number;
  top: number;
  shade: number;
  presence: number;
  /** Of a node that does not run, or is not heard of. */
  quiet: boolean;
}

/** The labels of a picture: those it has room for, and in full those of what is looked at. */
export function labels(
  ctx: CanvasRenderingContext2D,
  scene: Scene,
  camera: Camera,
  viewport: Viewport,
  picture: Picture,
): Label[] {
  const { hover, keyboard, selected } = scene.focus;
  const pointed = new Set([hover ?? keyboard, picture.labels.length === 0 ? selected : null]);
  const size = Math.min(14, Math.max(10, 13 * camera.zoom));
  const found: Label[] = [];
  for (const item of picture.labels) {
    if (pointed.has(item.id)) continue;
    const { label, minor } = fitted(ctx, item, size, Math.max(56, (GAP_X - 8) * camera.zoom));
    found.push(measure(ctx, item, label, minor, size, toScreen(camera, viewport, item), picture.radius));
  }
  for (const id of pointed) {
    const item = id === null ? undefined : scene.items.get(id);
    if (!item) continue;
    const full = Math.max(size, POINTED_PX);
    const at = toScreen(camera, viewport, item);
    found.push(measure(ctx, item, item.node.label, item.face.minor, full, at, Math.max(4, picture.radius)));
  }
  return found;
}

export function drawGrounds(ctx: CanvasRenderingContext2D, all: readonly Label[], palette: Palette): void {
  ctx.fillStyle = palette.background;
  for (const { at, half, top, bottom, presence } of all) {
    ctx.globalAlpha = 0.9 * presence;
    ctx.beginPath();
    // From the node's middle on, so that an edge seems to begin below the label.
    ctx.roundRect(at.x - half, at.y, 2 * half, Math.max(top, bottom) - at.y, 5);
    ctx.fill();
  }
  ctx.globalAlpha = 1;
}

export function drawTexts(ctx: CanvasRenderingContext2D, all: readonly Label[], palette: Palette): void {
  ctx.textAlign = "center";
  ctx.textBaseline = "alphabetic";
  for (const { at, label, minor, size, top, shade, presence, quiet } of all) {
    ctx.globalAlpha = shade * presence;
    ctx.font = labelFont(size);
    ctx.fillStyle = quiet ? palette.muted : palette.text;
    ctx.fillText(label, at.x, top + size * 1.02);
    if (minor === "") continue;
    ctx.font = minorFont(size);
    ctx.fillStyle = palette.muted;
    ctx.fillText(minor, at.x, top + size * 2.2);
  }
  ctx.globalAlpha = 1;
}

function measure(
  ctx: CanvasRenderingContext2D,
  item: Item,
  label: string,
  minor: string,
  size: number,
  at: Point,
  radius: number,
): Label {
  const width = Math.max(textWidth(ctx, labelFont(size), label), textWidth(ctx, minorFont(size), minor));
  const top = at.y + radius * 1.16 + 3;
  const bottom = top + size * (minor === "" ? 1.35 : 2.55);
  return {
    at,
    label,
    minor,
    size,
    half: width / 2 + 5,
    top,
    bottom,
    shade: item.shade,
    presence: item.presence,
    quiet: item.face.standing !== "running" || item.face.stale !== null,
  };
}

/** The item's texts cut to a width, remembered until the width or the text changes. */
function fitted(
  ctx: CanvasRenderingContext2D,
  item: Item,
  size: number,
  width: number,
): { label: string; minor: string } {
  const key = `${Math.round(size)}|${Math.round(width / 4)}`;
  if (item.fitted?.key !== key) {
    const label = fitText(ctx, labelFont(size), item.node.label, width);
    item.fitted = { key, label, minor: fitText(ctx, minorFont(size), item.face.minor, width) };
  }
  return item.fitted;
}

/** As much of a text as fits, by halving. */
function fitText(ctx: CanvasRenderingContext2D, font: string, text: string, width: number): string {
  if (textWidth(ctx, font, text) <= width) return text;
  let [low, high] = [1, Math.min(text.length, 80)];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (textWidth(ctx, font, `${text.slice(0, middle)}…`) <= width) low = middle;
    else high = middle - 1;
  }
  return `${text.slice(0, low)}…`;
}

function textWidth(ctx: CanvasRenderingContext2D, font: string, text: string): number {
  if (text === "") return 0;
  ctx.font = font;
  return ctx.measureText(text).width;
}

const labelFont = (size: number): string => `550 ${size.toFixed(1)}px ${FONT}`;
const minorFont = (size: number): string => `400 ${(size * 0.86).toFixed(1)}px ${FONT}`;
