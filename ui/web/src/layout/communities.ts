/** Takes a graph apart into pieces that are laid out alone: hubs, groups that hang together, and single nodes. */
import { at, predecessors, successors, type IndexGraph, type Work } from "./geometry";

export interface Parts {
  /** Vertices with so many neighbours that their edges would hide all others; mostly clients, mostly servers. */
  hubsAbove: number[];
  hubsBelow: number[];
  /** Connected groups of two and more, largest first. */
  groups: number[][];
  /** Single nodes that share the same hubs, in order, and last those without any edge. */
  singles: number[][];
}

/** Groups larger than this are split where they hang together least. */
const GROUP_MAX = 160;
const PROPAGATION_ROUNDS = 8;

export function takeApart(graph: IndexGraph, work: Work): Parts {
  const count = graph.ids.length;
  const out = successors(count, graph.edges);
  const incoming = predecessors(count, graph.edges);
  const neighbours = out.map((targets, v) => [...targets, ...at(incoming, v)]);
  const threshold = Math.max(18, 0.8 * Math.sqrt(count));
  const isHub = neighbours.map((list) => list.length > threshold);
  const hubs = isHub.flatMap((hub, v) => (hub ? [v] : []));
  const parts: Parts = {
    hubsAbove: hubs.filter((v) => at(out, v).length >= at(incoming, v).length),
    hubsBelow: hubs.filter((v) => at(out, v).length < at(incoming, v).length),
    groups: [],
    singles: [],
  };
  const singlesByHubs = new Map<string, number[]>();
  for (const component of components(neighbours, isHub, work)) {
    if (component.length > 1) {
      parts.groups.push(...splitLarge(component, neighbours, work));
      continue;
    }
    const vertex = at(component, 0);
    const key = at(neighbours, vertex).join();
    singlesByHubs.set(key, [...(singlesByHubs.get(key) ?? []), vertex]);
  }
  parts.groups.sort((a, b) => b.length - a.length || at(a, 0) - at(b, 0));
  const isolated = singlesByHubs.get("");
  singlesByHubs.delete("");
  parts.singles = [...singlesByHubs.values(), ...(isolated ? [isolated] : [])];
  return parts;
}

function components(neighbours: readonly number[][], cut: readonly boolean[], work: Work): number[][] {
  const seen = new Uint8Array(neighbours.length);
  const found: number[][] = [];
  for (let start = 0; start < neighbours.length; start++) {
    if (seen[start] || cut[start]) continue;
    seen[start] = 1;
    const members = [start];
    for (let i = 0; i < members.length; i++) {
      for (const next of at(neighbours, at(members, i))) {
        work.steps += 1;
        if (seen[next] || cut[next]) continue;
        seen[next] = 1;
        members.push(next);
      }
    }
    found.push(members.sort((a, b) => a - b));
  }
  return found;
}

/** Label propagation with a size cap: each vertex joins the label most of its neighbours have and that has room. */
function splitLarge(members: number[], neighbours: readonly number[][], work: Work): number[][] {
  if (members.length <= GROUP_MAX) return [members];
  const label = new Map(members.map((v) => [v, v]));
  const size = new Map(members.map((v) => [v, 1]));
  for (let round = 0; round < PROPAGATION_ROUNDS; round++) {
    let moved = 0;
    for (const vertex of members) {
      const votes = new Map<number, number>();
      for (const next of at(neighbours, vertex)) {
        work.steps += 1;
        const vote = label.get(next);
        if (vote !== undefined) votes.set(vote, (votes.get(vote) ?? 0) + 1);
      }
      const own = label.get(vertex) ?? vertex;
      let best = own;
      for (const [candidate, count] of votes) {
        const most = votes.get(best) ?? 0;
        const room = candidate === own || (size.get(candidate) ?? 0) < GROUP_MAX;
        if (room && (count > most || (count === most && candidate < best))) best = candidate;
      }
      if (best === own) continue;
      size.set(own, (size.get(own) ?? 1) - 1);
      size.set(best, (size.get(best) ?? 0) + 1);
      label.set(vertex, best);
      moved += 1;
    }
    if (moved === 0) break;
  }
  const groups = new Map<number, number[]>();
  for (const vertex of members) {
    const key = label.get(vertex) ?? vertex;
    groups.set(key, [...(groups.get(key) ?? []), vertex]);
  }
  return [...groups.values()];
}
