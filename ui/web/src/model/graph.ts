/** Who connects to whom among the nodes of a map. */
import type { NodeSummary } from "./protocol";

export interface Links {
  /** Nodes it connects to, on this map, itself left out. */
  servers: string[];
  /** Nodes that connect to it. */
  clients: string[];
}

const NONE: Links = { servers: [], clients: [] };

/** Both directions of every adjacency whose two ends are on the map; those from a node to itself apart. */
export class Graph {
  private readonly links = new Map<string, Links>();
  /** Nodes that connect to themselves. */
  readonly loops = new Set<string>();
  /** Loops included. */
  readonly edgeCount: number;

  constructor(nodes: ReadonlyMap<string, NodeSummary>) {
    let edges = 0;
    for (const id of nodes.keys()) this.links.set(id, { servers: [], clients: [] });
    for (const node of nodes.values()) {
      for (const target of new Set(node.adjacency)) {
        const to = this.links.get(target);
        if (!to) continue;
        edges += 1;
        if (target === node.id) {
          this.loops.add(target);
          continue;
        }
        this.of(node.id).servers.push(target);
        to.clients.push(node.id);
      }
    }
    this.edgeCount = edges;
  }

  of(id: string): Links {
    return this.links.get(id) ?? NONE;
  }

  degree(id: string): number {
    const { servers, clients } = this.of(id);
    return servers.length + clients.length;
  }

  /** The node itself and all it is connected with. */
  neighbourhood(id: string): Set<string> {
    const { servers, clients } = this.of(id);
    return new Set([id, ...servers, ...clients]);
  }
}

/**
 * Nodes for the keyboard and screen readers: at most `max`, those with most to say first (found by the search, then
 * the best connected), listed by name.
 */
export function listed(
  nodes: ReadonlyMap<string, NodeSummary>,
  graph: Graph,
  found: ReadonlySet<string> | null,
  max: number,
): NodeSummary[] {
  const all = [...nodes.values()];
  const score = (node: NodeSummary): number => (found?.has(node.id) ? 1e9 : 0) + graph.degree(node.id);
  const chosen = all.length <= max ? all : all.sort((a, b) => score(b) - score(a)).slice(0, max);
  return chosen.sort((a, b) => a.label.localeCompare(b.label) || (a.id < b.id ? -1 : 1));
}
