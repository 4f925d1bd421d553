/** Second step: the order within each layer, by median sweeps and swaps of neighbours, keeping the best seen. */
import { at, type Work } from "./geometry";
import type { Layers } from "./layers";

/** Down and up sweeps. The gain after a dozen is under a percent on the graphs tried. */
const SWEEPS = 12;

/** Swapping neighbours costs the square of their degrees; past this many links, sweeps alone must do. */
const SWAP_LINKS_MAX = 1200;

/** Reorders the layers in place to few crossings. */
export function reduceCrossings(graph: Layers, work: Work): void {
  const position = new Int32Array(graph.up.length);
  const links = graph.down.reduce((sum, targets) => sum + targets.length, 0);
  seed(graph, position);
  let best = graph.layers.map((layer) => [...layer]);
  let fewest = crossings(graph, position, work);
  for (let sweep = 0; sweep < SWEEPS && fewest > 0; sweep++) {
    const downward = sweep % 2 === 0;
    sweepOnce(graph, position, downward, work);
    if (links <= SWAP_LINKS_MAX) swapNeighbours(graph, position, work);
    const now = crossings(graph, position, work);
    if (now < fewest) {
      fewest = now;
      best = graph.layers.map((layer) => [...layer]);
    }
  }
  graph.layers = best;
}

/** A first order that keeps connected vertices together: breadth first from the top layer, in drawing order. */
function seed(graph: Layers, position: Int32Array): void {
  const seen = new Uint8Array(position.length);
  const visited: number[] = [];
  for (const start of graph.layers.flat()) {
    if (seen[start]) continue;
    seen[start] = 1;
    const queue = [start];
    for (let i = 0; i < queue.length; i++) {
      const vertex = at(queue, i);
      visited.push(vertex);
      for (const next of [...at(graph.down, vertex), ...at(graph.up, vertex)]) {
        if (seen[next]) continue;
        seen[next] = 1;
        queue.push(next);
      }
    }
  }
  const order = new Int32Array(position.length);
  visited.forEach((vertex, i) => (order[vertex] = i));
  for (const layer of graph.layers) layer.sort((a, b) => at(order, a) - at(order, b));
  number(graph.layers, position);
}

function number(layers: readonly number[][], position: Int32Array): void {
  for (const layer of layers) layer.forEach((vertex, i) => (position[vertex] = i));
}

function sweepOnce(graph: Layers, position: Int32Array, downward: boolean, work: Work): void {
  const count = graph.layers.length;
  for (let step = 1; step < count; step++) {
    const layer = at(graph.layers, downward ? step : count - 1 - step);
    const fixed = downward ? graph.up : graph.down;
    const medians = new Map(
      layer.map((vertex, i) => {
        const neighbours = at(fixed, vertex);
        work.steps += neighbours.length + 1;
        return [vertex, neighbours.length === 0 ? i : median(neighbours.map((n) => at(position, n)))];
      }),
    );
    layer.sort((a, b) => (medians.get(a) ?? 0) - (medians.get(b) ?? 0) || at(position, a) - at(position, b));
    layer.forEach((vertex, i) => (position[vertex] = i));
  }
}

function median(values: number[]): number {
  values.sort((a, b) => a - b);
  const middle = values.length >> 1;
  return values.length % 2 === 1 ? at(values, middle) : (at(values, middle - 1) + at(values, middle)) / 2;
}

function swapNeighbours(graph: Layers, position: Int32Array, work: Work): void {
  for (const layer of graph.layers) {
    for (let i = 1; i < layer.length; i++) {
      const left = at(layer, i - 1);
      const right = at(layer, i);
      const gain =
        pairCrossings(at(graph.up, left), at(graph.up, right), position, work) +
        pairCrossings(at(graph.down, left), at(graph.down, right), position, work) -
        pairCrossings(at(graph.up, right), at(graph.up, left), position, work) -
        pairCrossings(at(graph.down, right), at(graph.down, left), position, work);
      if (gain <= 0) continue;
      layer[i - 1] = right;
      layer[i] = left;
      position[right] = i - 1;
      position[left] = i;
    }
  }
}

/** Crossings between the links of two vertices, the first standing left of the second. */
function pairCrossings(
  left: readonly number[],
  right: readonly number[],
  position: Int32Array,
  work: Work,
): number {
  let found = 0;
  work.steps += left.length * right.length;
  for (const a of left) for (const b of right) if (at(position, a) > at(position, b)) found += 1;
  return found;
}

/** All crossings between neighbouring layers, as inversions counted in a Fenwick tree. */
export function crossings(graph: Layers, position: Int32Array, work: Work): number {
  let found = 0;
  for (let i = 1; i < graph.layers.length; i++) {
    const tree = new Int32Array(at(graph.layers, i).length + 1);
    let seen = 0;
    for (const vertex of at(graph.layers, i - 1)) {
      const ends = at(graph.down, vertex).map((target) => at(position, target));
      for (const end of ends) found += seen - prefix(tree, end + 1, work);
      for (const end of ends) add(tree, end + 1, work);
      seen += ends.length;
    }
  }
  return found;
}

function prefix(tree: Int32Array, index: number, work: Work): number {
  let sum = 0;
  for (let i = index; i > 0; i -= i & -i) {
    work.steps += 1;
    sum += at(tree, i);
  }
  return sum;
}

function add(tree: Int32Array, index: number, work: Work): void {
  for (let i = index; i < tree.length; i += i & -i) {
    work.steps += 1;
    tree[i] = at(tree, i) + 1;
  }
}
