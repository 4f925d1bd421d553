/** The line of an edge, as cubic Bézier pieces: out of the client's underside, into the server's top, round corners. */
import { NODE_RADIUS, type Point } from "./geometry";

/** Map units between a shape and where an edge begins and ends. */
const START_GAP = 2;
const END_GAP = 7;

/** The same for an edge that arrives from below, where the label is. */
const END_GAP_BELOW = 44;

/** How far the two directions between one pair of nodes are drawn apart. */
const MUTUAL_SHIFT = 8;

/** Nodes less than this above or below each other are side by side: edges leave sideways. */
const LEVEL = 48;

/**
 * The curve from `from` over `corners` to `to`: `x, y` of its start, then `c1 c2 end` of each piece.
 * The last piece ends short of the shape, where an arrow's tip goes.
 */
export function edgeCurve(from: Point, to: Point, corners: readonly Point[], mutual: boolean): Float64Array {
  const points = [from, ...corners, to];
  const directions = points.map((_, i) => direction(points, i));
  const side = mutual ? (from.y < to.y || (from.y === to.y && from.x < to.x) ? 1 : -1) * MUTUAL_SHIFT : 0;
  const [first, last] = [directions[0] ?? DOWN, directions.at(-1) ?? DOWN];
  const start = leave(from, first, NODE_RADIUS + START_GAP, side);
  const end = leave(to, last, -(NODE_RADIUS + (last.y < 0 ? END_GAP_BELOW : END_GAP)), side);
  const path = [start, ...corners, end];
  const curve = new Float64Array(2 + 6 * (path.length - 1));
  curve.set([start.x, start.y]);
  for (let i = 1; i < path.length; i++) {
    const a = path[i - 1] ?? start;
    const b = path[i] ?? end;
    const [da, db] = [directions[i - 1] ?? DOWN, directions[i] ?? DOWN];
    const reach = handle(a, b, da);
    const back = handle(a, b, db);
    curve.set(
      [a.x + da.x * reach, a.y + da.y * reach, b.x - db.x * back, b.y - db.y * back, b.x, b.y],
      6 * i - 4,
    );
  }
  return curve;
}

/** Where a loop leaves and comes back, as angles on the shape, and how far it reaches beyond it. */
const LOOP = { out: -1.15, back: -0.2, reach: 46 };

/** The curve of an edge from a node to itself: a small loop at its upper right. */
export function loopCurve(at: Point): Float64Array {
  const on = (angle: number, distance: number): [number, number] => [
    at.x + Math.cos(angle) * distance,
    at.y + Math.sin(angle) * distance,
  ];
  const start = NODE_RADIUS + START_GAP;
  const end = NODE_RADIUS + END_GAP;
  return Float64Array.from([
    ...on(LOOP.out, start),
    ...on(LOOP.out, start + LOOP.reach),
    ...on(LOOP.back, end + LOOP.reach),
    ...on(LOOP.back, end),
  ]);
}

/** The direction a curve arrives with, as a unit vector: where its arrow points. */
export function arrival(curve: Float64Array): Point {
  const n = curve.length;
  return unit({ x: num(curve, n - 2) - num(curve, n - 4), y: num(curve, n - 1) - num(curve, n - 3) });
}

/** Points along a curve, its start and end included. */
export function sample(curve: Float64Array): Point[] {
  const points: Point[] = [{ x: num(curve, 0), y: num(curve, 1) }];
  for (let i = 2; i + 5 < curve.length; i += 6) {
    for (let step = 1; step <= SAMPLES; step++) points.push(pointOn(curve, i, step / SAMPLES));
  }
  return points;
}

/** The distance from (x, y) to a curve, or `Infinity` if it is more than `within`. Allocates nothing. */
export function distanceTo(curve: Float64Array, x: number, y: number, within: number): number {
  let nearest = Infinity;
  for (let i = 2; i + 5 < curve.length; i += 6) {
    if (!nearPiece(curve, i, x, y, within)) continue;
    let fromX = num(curve, i - 2);
    let fromY = num(curve, i - 1);
    for (let step = 1; step <= SAMPLES; step++) {
      const t = step / SAMPLES;
      const toX = along(curve, i, t);
      const toY = along(curve, i + 1, t);
      nearest = Math.min(nearest, toSegment(x, y, fromX, fromY, toX, toY));
      fromX = toX;
      fromY = toY;
    }
  }
  return nearest <= within ? nearest : Infinity;
}

/** Whether a point is near the box of a piece's control points, which its line never leaves. */
function nearPiece(curve: Float64Array, i: number, x: number, y: number, within: number): boolean {
  return nearSpan(curve, i, x, within) && nearSpan(curve, i + 1, y, within);
}

function nearSpan(curve: Float64Array, k: number, at: number, within: number): boolean {
  const a = num(curve, k - 2);
  const b = num(curve, k);
  const c = num(curve, k + 2);
  const d = num(curve, k + 4);
  return at >= Math.min(a, b, c, d) - within && at <= Math.max(a, b, c, d) + within;
}

function toSegment(x: number, y: number, ax: number, ay: number, bx: number, by: number): number {
  const dx = bx - ax;
  const dy = by - ay;
  const length = dx * dx + dy * dy;
  const t = length === 0 ? 0 : Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / length));
  return Math.hypot(x - ax - t * dx, y - ay - t * dy);
}

/** Points per piece: closer together than a node is wide, for all but the longest edges. */
const SAMPLES = 12;

/** The point at `t` of the piece whose first control point is at `i`. */
function pointOn(curve: Float64Array, i: number, t: number): Point {
  return { x: along(curve, i, t), y: along(curve, i + 1, t) };
}

/** One coordinate of that point; `k` is where the first control point has it. */
function along(curve: Float64Array, k: number, t: number): number {
  const u = 1 - t;
  return (
    u ** 3 * num(curve, k - 2) +
    3 * u * u * t * num(curve, k) +
    3 * u * t * t * num(curve, k + 2) +
    t ** 3 * num(curve, k + 4)
  );
}

const DOWN: Point = { x: 0, y: 1 };

function direction(points: readonly Point[], i: number): Point {
  const before = points[Math.max(0, i - 1)] ?? DOWN;
  const after = points[Math.min(points.length - 1, i + 1)] ?? DOWN;
  const dx = after.x - before.x;
  const dy = after.y - before.y;
  const inner = i > 0 && i < points.length - 1;
  if (inner) return unit({ x: dx * 0.35, y: dy });
  if (Math.abs(dy) > LEVEL) return { x: 0, y: Math.sign(dy) || 1 };
  return { x: Math.sign(dx) || 1, y: 0 };
}

function leave(centre: Point, towards: Point, distance: number, side: number): Point {
  return {
    x: centre.x + towards.x * distance + towards.y * towards.y * side,
    y: centre.y + towards.y * distance + towards.x * towards.x * side,
  };
}

/** Length of a control handle: half the way along its own direction, but never a kink. */
function handle(a: Point, b: Point, along: Point): number {
  const forward = Math.abs((b.x - a.x) * along.x + (b.y - a.y) * along.y);
  return Math.max(forward * 0.5, Math.min(45, Math.hypot(b.x - a.x, b.y - a.y) * 0.2));
}

function unit(vector: Point): Point {
  const length = Math.hypot(vector.x, vector.y);
  return length > 0 ? { x: vector.x / length, y: vector.y / length } : DOWN;
}

function num(list: Float64Array, index: number): number {
  return list[index] ?? 0;
}
