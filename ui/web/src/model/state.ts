/** Everything the page knows, and how each event changes it. No socket, clock or DOM in here. */
import { aheadOf } from "./clock";
import type { Mesh } from "./mesh";
import type { Diff, NodeDetail, NodeSummary, Peer, Probe, Topology } from "./protocol";
import { NO_FIGURES, type EdgeDetail, type EdgeFigures } from "./edges";
import { EMPTY_VIEW, sameCard, topCard, type Card, type EdgeCard, type NodeCard, type View } from "./url";

export type Link =
  | { status: "connecting" }
  | { status: "live" }
  /** The last map stays on screen until the next try, at `retryAtMs` of the page's clock. */
  | { status: "lost"; retryAtMs: number };

export type Detail =
  | { status: "none" }
  | { status: "loading"; card: Card }
  | { status: "shown"; card: NodeCard; node: NodeDetail }
  /** The peer no longer has the node; `node` is what it last said of it, if anything. */
  | { status: "gone"; card: NodeCard; node: NodeDetail | null }
  | { status: "shown"; card: EdgeCard; edge: EdgeDetail }
  | { status: "gone"; card: EdgeCard; edge: EdgeDetail | null };

export interface State {
  peer: Peer | null;
  /** How far the peer's clock is ahead of the page's, in milliseconds. */
  aheadMs: number;
  /** As of when its panel was last open. */
  mesh: Mesh | null;
  topologies: readonly Topology[];
  /** `null` until the peer has answered once. */
  probes: readonly Probe[] | null;
  view: View;
  link: Link;
  /** Nodes of `view.topologyId`. */
  nodes: ReadonlyMap<string, NodeSummary>;
  /** Options that {@link nodes} were asked for with; the view's are ahead until the peer has answered. */
  options: View["options"];
  /** Whether the current topology's first message has come. */
  loaded: boolean;
  /** Counts the changes of nodes or edges; a change of labels or metrics alone leaves it. */
  structure: number;
  /** Figures of the map's edges, as of the last poll; none from a peer that does not tell them. */
  figures: EdgeFigures;
  /** Nodes left out because the map already held {@link NODES_MAX}. */
  overflow: number;
  detail: Detail;
}

export type Action =
  /** The answer came at `atMs` of the page's clock. */
  | { type: "peer"; peer: Peer; atMs: number }
  | { type: "mesh"; mesh: Mesh }
  | { type: "topologies"; topologies: Topology[] }
  | { type: "probes"; probes: Probe[] }
  | { type: "view"; view: View }
  | { type: "linkUp" }
  | { type: "linkLost"; retryAtMs: number }
  | { type: "diff"; topologyId: string; diff: Diff }
  | { type: "figures"; topologyId: string; figures: EdgeFigures }
  | { type: "detail"; card: NodeCard; node: NodeDetail | null }
  | { type: "edge"; card: EdgeCard; edge: EdgeDetail | null };

/** Nodes held at most: five times what the map is drawn for at full frame rate. */
export const NODES_MAX = 50_000;

export const INITIAL: State = {
  peer: null,
  aheadMs: 0,
  mesh: null,
  topologies: [],
  probes: null,
  view: EMPTY_VIEW,
  link: { status: "connecting" },
  nodes: new Map(),
  options: {},
  loaded: false,
  structure: 0,
  figures: NO_FIGURES,
  overflow: 0,
  detail: { status: "none" },
};

/** The next state. Pure: every case is a table row in the test. */
export function reduce(state: State, action: Action): State {
  switch (action.type) {
    case "peer":
      return {
        ...state,
        peer: action.peer,
        aheadMs: aheadOf(state.aheadMs, action.peer.timeMs, action.atMs),
      };
    case "mesh":
      return { ...state, mesh: action.mesh };
    case "topologies":
      return { ...state, topologies: action.topologies };
    case "probes":
      return { ...state, probes: action.probes };
    case "view":
      return show(state, action.view);
    case "linkUp":
      return { ...state, link: { status: "live" } };
    case "linkLost":
      return { ...state, link: { status: "lost", retryAtMs: action.retryAtMs } };
    case "diff":
      return action.topologyId === state.view.topologyId ? applyDiff(state, action.diff) : state;
    case "figures":
      return action.topologyId === state.view.topologyId ? { ...state, figures: action.figures } : state;
    case "detail":
      return { ...state, detail: nextDetail(state, action.card, action.node) };
    case "edge":
      return { ...state, detail: nextEdge(state, action.card, action.edge) };
    default:
      return action satisfies never;
  }
}

/** All topologies, each followed by its sub-topologies. */
export function flatten(topologies: readonly Topology[]): Topology[] {
  return topologies.flatMap((topology) => [topology, ...topology.subTopologies]);
}

/** Topologies worth opening first, best first, if they have nodes. */
const PREFERRED = ["kube-controllers", "pods", "containers", "processes", "hosts"];

/** The topology to open when the user has not chosen one: the preferred one that shows something. */
export function defaultTopology(topologies: readonly Topology[]): string {
  const byId = new Map(flatten(topologies).map((topology) => [topology.id, topology]));
  const filled = PREFERRED.find((id) => (byId.get(id)?.nodeCount ?? 0) > 0);
  return filled ?? (byId.has("containers") ? "containers" : (topologies[0]?.id ?? ""));
}

function show(state: State, view: View): State {
  const card = topCard(view);
  const detail: Detail = card ? { status: "loading", card } : { status: "none" };
  const next = { ...state, view, detail: sameCard(card, topCard(state.view)) ? state.detail : detail };
  if (view.topologyId === state.view.topologyId) return next;
  return {
    ...next,
    nodes: new Map(),
    loaded: false,
    structure: state.structure + 1,
    figures: NO_FIGURES,
    overflow: 0,
  };
}

function nextDetail(state: State, card: NodeCard, node: NodeDetail | null): Detail {
  if (!sameCard(card, topCard(state.view))) return state.detail;
  if (node) return { status: "shown", card, node };
  return { status: "gone", card, node: "node" in state.detail ? state.detail.node : null };
}

function nextEdge(state: State, card: EdgeCard, edge: EdgeDetail | null): Detail {
  if (!sameCard(card, topCard(state.view))) return state.detail;
  if (edge) return { status: "shown", card, edge };
  return { status: "gone", card, edge: "edge" in state.detail ? state.detail.edge : null };
}

function applyDiff(state: State, diff: Diff): State {
  const nodes = new Map(diff.reset ? [] : state.nodes);
  let structural = !state.loaded;
  let overflow = diff.reset ? 0 : state.overflow;
  for (const id of diff.remove) structural = nodes.delete(id) || structural;
  for (const node of [...diff.add, ...diff.update]) {
    const before = state.nodes.get(node.id);
    if (nodes.size >= NODES_MAX && !nodes.has(node.id)) {
      overflow += 1;
      continue;
    }
    structural ||= !before || !sameList(before.adjacency, node.adjacency);
    nodes.set(node.id, node);
  }
  // A reset says who is left by leaving the others out.
  structural ||= diff.reset && nodes.size !== state.nodes.size;
  const options = diff.reset ? state.view.options : state.options;
  const structure = state.structure + (structural ? 1 : 0);
  return { ...state, nodes, options, loaded: true, overflow, structure };
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((entry, i) => entry === b[i]);
}
