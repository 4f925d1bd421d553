/** Puts finished blocks side by side in rows, so that the whole has the shape of a screen. */
import { at, GAP_X, GAP_Y, type Point } from "./geometry";

export interface Block {
  /** Vertices of the whole graph, and where each is within the block. */
  members: number[];
  points: Point[];
  /** Bends of edges inside the block, by edge of the whole graph as `from,to`. */
  bends: Map<string, Point[]>;
}

export interface Bounds {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** Width to height of the whole, as the map's part of a screen is. */
const ASPECT = 1.8;

/** Empty space between two blocks, on top of the gap between two nodes. */
const BLOCK_GAP = 40;

export function bounds(points: Iterable<Point>): Bounds {
  const box = { left: Infinity, top: Infinity, right: -Infinity, bottom: -Infinity };
  for (const { x, y } of points) {
    box.left = Math.min(box.left, x);
    box.right = Math.max(box.right, x);
    box.top = Math.min(box.top, y);
    box.bottom = Math.max(box.bottom, y);
  }
  return box.left > box.right ? { left: 0, top: 0, right: 0, bottom: 0 } : box;
}

/** A block of nodes in a grid, in order, row by row; the rows centred. */
export function gridBlock(members: number[]): Block {
  const columns = Math.max(1, Math.ceil(Math.sqrt(members.length * ASPECT)));
  const rows = Math.ceil(members.length / columns);
  // Even rows: 10 nodes are 5 and 5, not 4, 4 and 2.
  const perRow = Math.ceil(members.length / rows);
  const points = members.map((_, i) => {
    const row = Math.floor(i / perRow);
    const inRow = Math.min(perRow, members.length - row * perRow);
    return { x: ((i % perRow) - (inRow - 1) / 2) * GAP_X, y: row * GAP_Y };
  });
  return { members, points, bends: new Map() };
}

/** Moves the blocks, in the order given, into rows centred on x = 0: of several row widths the one that fits best. */
export function packRows(blocks: readonly Block[]): void {
  const sizes = blocks.map(({ points }): Size => {
    const box = bounds(points);
    return {
      box,
      width: box.right - box.left + GAP_X + BLOCK_GAP,
      height: box.bottom - box.top + GAP_Y + BLOCK_GAP,
    };
  });
  const widest = sizes.reduce((most, size) => Math.max(most, size.width), 0);
  const area = sizes.reduce((sum, size) => sum + size.width * size.height, 0);
  let best: number[][] = [];
  let least = Infinity;
  for (const stretch of ROW_WIDTHS) {
    const rows = fill(sizes, Math.max(widest, Math.sqrt(area * ASPECT) * stretch));
    const width = rows.reduce((most, row) => Math.max(most, widthOf(row, sizes)), 0);
    const height = rows.reduce((sum, row) => sum + heightOf(row, sizes), 0);
    const extent = Math.max(width / ASPECT, height);
    if (extent >= least) continue;
    least = extent;
    best = rows;
  }
  let top = 0;
  for (const row of best) {
    let left = -widthOf(row, sizes) / 2;
    for (const i of row) {
      const { box, width } = at(sizes, i);
      shift(at(blocks, i), left + (GAP_X + BLOCK_GAP) / 2 - box.left, top - box.top);
      left += width;
    }
    top += heightOf(row, sizes);
  }
}

interface Size {
  box: Bounds;
  /** With the space around it. */
  width: number;
  height: number;
}

/** Row widths tried, as shares of the width a seamless packing would have. */
const ROW_WIDTHS = [0.8, 0.9, 1, 1.1, 1.2, 1.35, 1.5, 1.75, 2];

/** Blocks in rows no wider than `limit`. */
function fill(sizes: readonly Size[], limit: number): number[][] {
  const rows: number[][] = [];
  let used = Infinity;
  sizes.forEach(({ width }, i) => {
    if (used + width > limit + 1) {
      rows.push([]);
      used = 0;
    }
    rows.at(-1)?.push(i);
    used += width;
  });
  return rows;
}

function widthOf(row: readonly number[], sizes: readonly Size[]): number {
  return row.reduce((sum, i) => sum + at(sizes, i).width, 0);
}

function heightOf(row: readonly number[], sizes: readonly Size[]): number {
  return row.reduce((most, i) => Math.max(most, at(sizes, i).height), 0);
}

/** Moves a block and its bends. */
export function shift(block: Block, dx: number, dy: number): void {
  const move = (point: Point): void => {
    point.x += dx;
    point.y += dy;
  };
  block.points.forEach(move);
  for (const bend of block.bends.values()) bend.forEach(move);
}
