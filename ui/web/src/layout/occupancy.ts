/** Which places on the map are taken, in a hash grid: finding a free one costs the same on a large map. */
import { GAP_X, GAP_Y, type Point, type Work } from "./geometry";

/** Two nodes are too close within this share of the gaps both ways. */
const CLOSE = 0.86;

/** Rings of the search around a wanted place; beyond them the map is full for hundreds of nodes around. */
const RINGS_MAX = 24;

export class Occupancy {
  private readonly cells = new Map<string, Point[]>();

  constructor(private readonly work: Work) {}

  add(point: Point): void {
    const key = cellKey(cellX(point.x), cellY(point.y));
    const cell = this.cells.get(key);
    if (cell) cell.push(point);
    else this.cells.set(key, [point]);
  }

  isFree(point: Point): boolean {
    const column = cellX(point.x);
    const row = cellY(point.y);
    for (let i = column - 1; i <= column + 1; i++) {
      for (let j = row - 1; j <= row + 1; j++) {
        this.work.steps += 1;
        for (const other of this.cells.get(cellKey(i, j)) ?? []) if (tooClose(point, other)) return false;
      }
    }
    return true;
  }

  /**
   * The free place nearest to `wanted`: beside it first, then one row away: upwards only, downwards only, or either,
   * by the sign of `way`. Far out, wherever is free.
   */
  nearest(wanted: Point, way: number): Point {
    for (let ring = 0; ring <= RINGS_MAX; ring++) {
      for (const point of ringAround(wanted, ring, way)) if (this.isFree(point)) return point;
    }
    const point = { x: wanted.x, y: wanted.y + (RINGS_MAX / 2) * GAP_Y };
    while (!this.isFree(point)) point.y += GAP_Y;
    return { ...point };
  }
}

/** Places at a distance of `ring` half gaps: half a gap sideways counts as much as a quarter row. */
function ringAround(centre: Point, ring: number, way: number): Point[] {
  if (ring === 0) return [centre];
  const points: Point[] = [];
  for (let row = 0; row * 2 <= ring; row++) {
    const column = ring - row * 2;
    for (const [signX, signY] of [
      [1, 1],
      [-1, 1],
      [1, -1],
      [-1, -1],
    ] as const) {
      if ((column === 0 && signX < 0) || (row === 0 && signY < 0)) continue;
      if (row > 0 && signY * way < 0) continue;
      points.push({ x: centre.x + signX * column * (GAP_X / 2), y: centre.y + signY * row * GAP_Y });
    }
  }
  return points;
}

function tooClose(a: Point, b: Point): boolean {
  return Math.abs(a.x - b.x) < GAP_X * CLOSE && Math.abs(a.y - b.y) < GAP_Y * 0.72;
}

const cellX = (x: number): number => Math.floor(x / GAP_X);
const cellY = (y: number): number => Math.floor(y / GAP_Y);
const cellKey = (column: number, row: number): string => `${column},${row}`;
