/** A small mark inside each shape that says what the node is, drawn in a box of -1 to 1. */
import { serviceMark } from "./icons";
import type { Shape } from "./shapes";

export type Strokes = readonly (readonly [number, number])[][];

const CONTAINER: Strokes = [
  [
    [0, -1],
    [0.88, -0.5],
    [0.88, 0.5],
    [0, 1],
    [-0.88, 0.5],
    [-0.88, -0.5],
    [0, -1],
  ],
  [
    [-0.88, -0.5],
    [0, 0],
    [0.88, -0.5],
  ],
  [
    [0, 0],
    [0, 1],
  ],
];
const PROCESS: Strokes = [
  [
    [-0.85, -0.6],
    [-0.2, 0],
    [-0.85, 0.6],
  ],
  [
    [0.1, 0.65],
    [0.9, 0.65],
  ],
];
const HOST: Strokes = [
  [
    [-0.9, -0.8],
    [0.9, -0.8],
    [0.9, -0.1],
    [-0.9, -0.1],
    [-0.9, -0.8],
  ],
  [
    [-0.9, 0.1],
    [0.9, 0.1],
    [0.9, 0.8],
    [-0.9, 0.8],
    [-0.9, 0.1],
  ],
  [
    [-0.5, -0.45],
    [-0.4, -0.45],
  ],
  [
    [-0.5, 0.45],
    [-0.4, 0.45],
  ],
];
const LAYERS: Strokes = [
  [
    [0, -0.9],
    [0.95, -0.4],
    [0, 0.1],
    [-0.95, -0.4],
    [0, -0.9],
  ],
  [
    [-0.95, 0.05],
    [0, 0.55],
    [0.95, 0.05],
  ],
  [
    [-0.95, 0.45],
    [0, 0.95],
    [0.95, 0.45],
  ],
];
const OUTSIDE: Strokes = [
  [
    [-0.75, 0.75],
    [0.75, -0.75],
  ],
  [
    [-0.1, -0.75],
    [0.75, -0.75],
    [0.75, 0.1],
  ],
];

/** The mark of a node, or none: shapes that speak for themselves stay empty. */
export function glyphOf(shape: Shape, stack: boolean, pseudo: boolean, icon = ""): Strokes {
  const mark = serviceMark(icon);
  if (mark) return mark;
  if (shape === "cloud") return OUTSIDE;
  if (pseudo) return [];
  if (shape === "hexagon") return stack ? LAYERS : CONTAINER;
  if (shape === "square") return PROCESS;
  if (shape === "circle") return HOST;
  return [];
}

type LineSink = Pick<CanvasRenderingContext2D, "moveTo" | "lineTo">;

/** Adds the mark to a path, around (x, y). */
export function traceGlyph(sink: LineSink, strokes: Strokes, x: number, y: number, size: number): void {
  for (const stroke of strokes) {
    stroke.forEach(([dx, dy], i) => {
      if (i === 0) sink.moveTo(x + dx * size, y + dy * size);
      else sink.lineTo(x + dx * size, y + dy * size);
    });
  }
}
