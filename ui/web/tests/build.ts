/** Small nodes for tests: only what a case is about is written down. */
import { parseNode, type NodeSummary } from "../src/model/protocol";

export function node(id: string, fields: Record<string, unknown> = {}): NodeSummary {
  const parsed = parseNode({ id, label: id, ...fields });
  if (!parsed) throw new Error(`no node: ${id}`);
  return parsed;
}

/** `chain("a>b b>c d")`: nodes and what they connect to. */
export function chain(text: string): NodeSummary[] {
  const targets = new Map<string, string[]>();
  for (const term of text.split(" ")) {
    const [from = "", to] = term.split(">");
    targets.set(from, [...(targets.get(from) ?? []), ...(to ? [to] : [])]);
    if (to && !targets.has(to)) targets.set(to, []);
  }
  return [...targets].map(([id, adjacency]) => node(id, { adjacency }));
}

export function byId(nodes: readonly NodeSummary[]): Map<string, NodeSummary> {
  return new Map(nodes.map((entry) => [entry.id, entry]));
}

/** A seeded generator (mulberry32), so that a failure repeats. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
