/** Where the user looks: pure arithmetic between the map and the screen. */
import type { Bounds } from "../layout/pack";
import type { Point } from "../layout/geometry";

export interface Camera {
  /** The point of the map in the middle of the free part of the screen. */
  x: number;
  y: number;
  /** Screen pixels per map unit. */
  zoom: number;
}

export interface Viewport {
  /** CSS pixels. */
  width: number;
  height: number;
  /** Pixels at the right that a panel covers. */
  covered: number;
}

export const ZOOM_MIN = 0.02;
export const ZOOM_MAX = 3;

/** A handful of nodes does not fill the screen with giants. */
const FIT_ZOOM_MAX = 1.25;

/** Room around the fitted map in pixels: labels hang below the nodes, the zoom buttons are at the right. */
const MARGIN = { left: 92, right: 136, top: 72, bottom: 104 };
/** The most of a narrow screen that the room at a side takes. */
const MARGIN_SHARE = { left: 0.13, right: 0.2 };

export function centre(viewport: Viewport): Point {
  return { x: (viewport.width - viewport.covered) / 2, y: viewport.height / 2 };
}

export function toScreen(camera: Camera, viewport: Viewport, point: Point): Point {
  const middle = centre(viewport);
  return {
    x: (point.x - camera.x) * camera.zoom + middle.x,
    y: (point.y - camera.y) * camera.zoom + middle.y,
  };
}

export function toMap(camera: Camera, viewport: Viewport, point: Point): Point {
  const middle = centre(viewport);
  return {
    x: (point.x - middle.x) / camera.zoom + camera.x,
    y: (point.y - middle.y) / camera.zoom + camera.y,
  };
}

/** Zooms so that what is under `anchor`, a point of the screen, stays there. */
export function zoomAt(camera: Camera, viewport: Viewport, anchor: Point, factor: number): Camera {
  const zoom = clamp(camera.zoom * factor, ZOOM_MIN, ZOOM_MAX);
  const fixed = toMap(camera, viewport, anchor);
  const middle = centre(viewport);
  return { x: fixed.x - (anchor.x - middle.x) / zoom, y: fixed.y - (anchor.y - middle.y) / zoom, zoom };
}

export function panBy(camera: Camera, dx: number, dy: number): Camera {
  return { ...camera, x: camera.x - dx / camera.zoom, y: camera.y - dy / camera.zoom };
}

/** The camera that shows all of `bounds`, centred as far as the zoom buttons let it. */
export function fit(bounds: Bounds, viewport: Viewport): Camera {
  const free = viewport.width - viewport.covered;
  const left = Math.min(MARGIN.left, free * MARGIN_SHARE.left);
  const right = Math.min(MARGIN.right, free * MARGIN_SHARE.right);
  const width = Math.max(80, free - left - right);
  const height = Math.max(80, viewport.height - MARGIN.top - MARGIN.bottom);
  const across = width / Math.max(1, bounds.right - bounds.left);
  const down = height / Math.max(1, bounds.bottom - bounds.top);
  const zoom = clamp(Math.min(across, down), ZOOM_MIN, FIT_ZOOM_MAX);
  const half = (zoom * (bounds.right - bounds.left)) / 2;
  const aside = clamp(half - (free / 2 - right), 0, (right - left) / 2);
  return {
    x: (bounds.left + bounds.right) / 2 + aside / zoom,
    y: (bounds.top + bounds.bottom) / 2 + (MARGIN.bottom - MARGIN.top) / 2 / zoom,
    zoom,
  };
}

/** The camera moved just enough that `point` is at least `margin` pixels inside the free part of the screen. */
export function reveal(camera: Camera, viewport: Viewport, point: Point, margin: number): Camera {
  const seen = toScreen(camera, viewport, point);
  const free = viewport.width - viewport.covered;
  const x = clamp(seen.x, Math.min(margin, free / 2), Math.max(free - margin, free / 2));
  const y = clamp(
    seen.y,
    Math.min(margin, viewport.height / 2),
    Math.max(viewport.height - margin, viewport.height / 2),
  );
  return panBy(camera, x - seen.x, y - seen.y);
}

/** Between two cameras; the zoom geometrically, so that it seems even. */
export function between(a: Camera, b: Camera, t: number): Camera {
  return {
    x: a.x + (b.x - a.x) * t,
    y: a.y + (b.y - a.y) * t,
    zoom: a.zoom * (b.zoom / a.zoom) ** t,
  };
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
