/** Outlines of nodes, on a unit circle. The kind of thing a node is shows in its shape, never in its colour alone. */

export type PathSink = Pick<
  CanvasRenderingContext2D,
  "moveTo" | "lineTo" | "quadraticCurveTo" | "bezierCurveTo" | "arc" | "ellipse" | "closePath"
>;

export type Shape =
  | "circle"
  | "square"
  | "triangle"
  | "pentagon"
  | "hexagon"
  | "heptagon"
  | "octagon"
  | "cloud"
  | "cylinder"
  | "sheet";

export interface Outline {
  shape: Shape;
  dotted: boolean;
}

const NAMES: Readonly<Record<string, Outline>> = {
  circle: { shape: "circle", dotted: false },
  square: { shape: "square", dotted: false },
  triangle: { shape: "triangle", dotted: false },
  pentagon: { shape: "pentagon", dotted: false },
  hexagon: { shape: "hexagon", dotted: false },
  heptagon: { shape: "heptagon", dotted: false },
  octagon: { shape: "octagon", dotted: false },
  cloud: { shape: "cloud", dotted: false },
  cylinder: { shape: "cylinder", dotted: false },
  sheet: { shape: "sheet", dotted: false },
  storagesheet: { shape: "sheet", dotted: false },
  dottedcylinder: { shape: "cylinder", dotted: true },
  dottedtriangle: { shape: "triangle", dotted: true },
  dottedsquare: { shape: "square", dotted: true },
};

const CIRCLE: Outline = { shape: "circle", dotted: false };

/** The outline of a peer's shape name; one this page does not know is a circle. */
export function outlineOf(name: string): Outline {
  return Object.hasOwn(NAMES, name) ? (NAMES[name] ?? CIRCLE) : CIRCLE;
}

/** Corners, radius and turn of each polygon: adjusted by eye so that all look equally large. */
const POLYGONS: Partial<Record<Shape, { corners: number; radius: number; turn: number; drop: number }>> = {
  square: { corners: 4, radius: 1.2, turn: Math.PI / 4, drop: 0 },
  triangle: { corners: 3, radius: 1.18, turn: 0, drop: 0.14 },
  pentagon: { corners: 5, radius: 1.05, turn: 0, drop: 0.05 },
  hexagon: { corners: 6, radius: 1.04, turn: 0, drop: 0 },
  heptagon: { corners: 7, radius: 1.02, turn: 0, drop: 0.02 },
  octagon: { corners: 8, radius: 1.02, turn: Math.PI / 8, drop: 0 },
};

/** Length of a rounded corner as a share of the side. */
const ROUNDING = 0.22;

/** Draws the closed outline of `shape` around (x, y). */
export function trace(sink: PathSink, shape: Shape, x: number, y: number, radius: number): void {
  const polygon = POLYGONS[shape];
  if (polygon) {
    const corners = Array.from({ length: polygon.corners }, (_, i): [number, number] => {
      const angle = (2 * Math.PI * i) / polygon.corners - Math.PI / 2 + polygon.turn;
      const reach = polygon.radius * radius;
      return [x + reach * Math.cos(angle), y + reach * Math.sin(angle) + polygon.drop * radius];
    });
    traceRounded(sink, corners);
  } else if (shape === "cloud") traceCloud(sink, x, y, radius);
  else if (shape === "cylinder") traceCylinder(sink, x, y, radius);
  else if (shape === "sheet") traceSheet(sink, x, y, radius);
  else {
    sink.moveTo(x + radius * 0.97, y);
    sink.arc(x, y, radius * 0.97, 0, 2 * Math.PI);
    sink.closePath();
  }
}

/** Lines inside the outline: the rim of a cylinder, the fold of a sheet. */
export function traceInner(sink: PathSink, shape: Shape, x: number, y: number, radius: number): void {
  if (shape === "cylinder") {
    sink.moveTo(x + 0.82 * radius, y - 0.66 * radius);
    sink.ellipse(x, y - 0.66 * radius, 0.82 * radius, 0.28 * radius, 0, 0, Math.PI);
  } else if (shape === "sheet") {
    sink.moveTo(x + 0.28 * radius, y - radius);
    sink.lineTo(x + 0.28 * radius, y - 0.5 * radius);
    sink.lineTo(x + 0.78 * radius, y - 0.5 * radius);
  }
}

function traceRounded(sink: PathSink, corners: readonly [number, number][]): void {
  corners.forEach(([x, y], i) => {
    const [beforeX, beforeY] = corners[(i + corners.length - 1) % corners.length] ?? [x, y];
    const [afterX, afterY] = corners[(i + 1) % corners.length] ?? [x, y];
    const fromX = x + (beforeX - x) * ROUNDING;
    const fromY = y + (beforeY - y) * ROUNDING;
    if (i === 0) sink.moveTo(fromX, fromY);
    else sink.lineTo(fromX, fromY);
    sink.quadraticCurveTo(x, y, x + (afterX - x) * ROUNDING, y + (afterY - y) * ROUNDING);
  });
  sink.closePath();
}

function traceCloud(sink: PathSink, x: number, y: number, radius: number): void {
  const px = (dx: number): number => x + dx * radius;
  const py = (dy: number): number => y + dy * radius;
  sink.moveTo(px(-0.72), py(0.62));
  sink.bezierCurveTo(px(-1.4), py(0.62), px(-1.42), py(-0.26), px(-0.82), py(-0.24));
  sink.bezierCurveTo(px(-0.78), py(-1.02), px(0.28), py(-1.12), px(0.42), py(-0.44));
  sink.bezierCurveTo(px(0.72), py(-0.66), px(1.06), py(-0.42), px(0.96), py(-0.08));
  sink.bezierCurveTo(px(1.42), py(0.02), px(1.34), py(0.62), px(0.84), py(0.62));
  sink.closePath();
}

function traceCylinder(sink: PathSink, x: number, y: number, radius: number): void {
  const side = 0.82 * radius;
  const rim = 0.28 * radius;
  sink.moveTo(x - side, y - 0.66 * radius);
  sink.ellipse(x, y - 0.66 * radius, side, rim, 0, Math.PI, 2 * Math.PI);
  sink.lineTo(x + side, y + 0.68 * radius);
  sink.ellipse(x, y + 0.68 * radius, side, rim, 0, 0, Math.PI);
  sink.closePath();
}

function traceSheet(sink: PathSink, x: number, y: number, radius: number): void {
  traceRounded(sink, [
    [x - 0.78 * radius, y - radius],
    [x + 0.28 * radius, y - radius],
    [x + 0.78 * radius, y - 0.5 * radius],
    [x + 0.78 * radius, y + radius],
    [x - 0.78 * radius, y + radius],
  ]);
}
