/** Pointer, touch and wheel on the map, told apart: pan, zoom, point, click. */
import type { Point } from "../layout/geometry";

export interface GestureEvents {
  pan(dx: number, dy: number): void;
  zoom(anchor: Point, factor: number): void;
  /** The pointer rests over a place; `null` when it has left. */
  point(at: Point | null): void;
  /** `coarse`: by a finger, which covers more than it means. */
  click(at: Point, coarse: boolean): void;
  doubleClick(at: Point): void;
}

/** A press that moves less than this many pixels is a click. */
const CLICK_PX = 4;

/** Zoom per pixel of wheel travel; a pinch on a touchpad arrives as a wheel with ctrl and small steps. */
const WHEEL_ZOOM = 0.0016;
const PINCH_ZOOM = 0.011;
const LINE_PX = 16;

export class Gestures {
  private readonly pressed = new Map<number, Point>();
  private travelled = 0;
  private readonly off = new AbortController();

  constructor(
    private readonly element: HTMLElement,
    private readonly events: GestureEvents,
  ) {
    const { signal } = this.off;
    element.addEventListener("pointerdown", (event) => this.down(event), { signal });
    element.addEventListener("pointermove", (event) => this.moved(event), { signal });
    element.addEventListener("pointerup", (event) => this.up(event), { signal });
    element.addEventListener("pointercancel", (event) => this.pressed.delete(event.pointerId), { signal });
    element.addEventListener("pointerleave", () => this.events.point(null), { signal });
    element.addEventListener("dblclick", (event) => this.events.doubleClick(at(event)), { signal });
    element.addEventListener("wheel", (event) => this.wheel(event), { signal, passive: false });
  }

  release(): void {
    this.off.abort();
  }

  private down(event: PointerEvent): void {
    if (event.button !== 0) return;
    this.element.setPointerCapture(event.pointerId);
    this.pressed.set(event.pointerId, at(event));
    this.travelled = this.pressed.size > 1 ? Infinity : 0;
  }

  private moved(event: PointerEvent): void {
    const before = this.pressed.get(event.pointerId);
    const now = at(event);
    if (!before) return this.events.point(now);
    const others = [...this.pressed].filter(([id]) => id !== event.pointerId);
    const [other] = others;
    this.pressed.set(event.pointerId, now);
    this.travelled += Math.hypot(now.x - before.x, now.y - before.y);
    if (other) this.pinch(before, now, other[1]);
    else if (this.travelled > CLICK_PX) this.events.pan(now.x - before.x, now.y - before.y);
  }

  private pinch(before: Point, now: Point, other: Point): void {
    const was = Math.hypot(before.x - other.x, before.y - other.y);
    const is = Math.hypot(now.x - other.x, now.y - other.y);
    this.events.pan((now.x - before.x) / 2, (now.y - before.y) / 2);
    if (was > 0 && is > 0) this.events.zoom({ x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 }, is / was);
  }

  private up(event: PointerEvent): void {
    const pressed = this.pressed.delete(event.pointerId);
    if (pressed && this.travelled <= CLICK_PX) this.events.click(at(event), event.pointerType === "touch");
  }

  private wheel(event: WheelEvent): void {
    event.preventDefault();
    const pixels = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? event.deltaY * LINE_PX : event.deltaY;
    const speed = event.ctrlKey ? PINCH_ZOOM : WHEEL_ZOOM;
    this.events.zoom(at(event), Math.exp(-Math.max(-240, Math.min(240, pixels)) * speed));
  }
}

function at(event: MouseEvent): Point {
  return { x: event.offsetX, y: event.offsetY };
}
