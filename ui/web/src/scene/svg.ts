/** Outlines as SVG path data: the same shapes as on the map, for marks in the page. */
import { traceGlyph, type Strokes } from "./glyphs";
import { trace, traceInner, type PathSink, type Shape } from "./shapes";

class SvgPath implements PathSink {
  data = "";

  moveTo(x: number, y: number): void {
    this.add("M", x, y);
  }

  lineTo(x: number, y: number): void {
    this.add("L", x, y);
  }

  quadraticCurveTo(cx: number, cy: number, x: number, y: number): void {
    this.add("Q", cx, cy, x, y);
  }

  bezierCurveTo(ax: number, ay: number, bx: number, by: number, x: number, y: number): void {
    this.add("C", ax, ay, bx, by, x, y);
  }

  arc(x: number, y: number, radius: number, start: number, end: number): void {
    this.ellipse(x, y, radius, radius, 0, start, end);
  }

  /** Arcs of half a turn at most come out exact; a full turn is drawn as two halves. */
  ellipse(x: number, y: number, rx: number, ry: number, _turn: number, start: number, end: number): void {
    const middle = (start + end) / 2;
    for (const angle of end - start > Math.PI * 1.001 ? [middle, end] : [end]) {
      this.add("A", rx, ry, 0, 0, 1, x + rx * Math.cos(angle), y + ry * Math.sin(angle));
    }
  }

  closePath(): void {
    this.data += "Z";
  }

  private add(command: string, ...values: number[]): void {
    this.data += command + values.map((value) => Math.round(value * 100) / 100).join(" ");
  }
}

/** Path data of a shape and of the lines inside it, around the origin. */
export function shapePath(shape: Shape, radius: number): { outline: string; inner: string } {
  const outline = new SvgPath();
  trace(outline, shape, 0, 0, radius);
  const inner = new SvgPath();
  traceInner(inner, shape, 0, 0, radius);
  return { outline: outline.data, inner: inner.data };
}

/** Path data of the mark inside a shape, around the origin. */
export function glyphPath(strokes: Strokes, size: number): string {
  const path = new SvgPath();
  traceGlyph(path, strokes, 0, 0, size);
  return path.data;
}
