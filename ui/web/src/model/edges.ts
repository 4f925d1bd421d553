/** What a peer tells of edges: light figures of all on a map, and everything about the connections of one. */
import { edgeKey } from "../layout/geometry";
import { count, fields, known, list, moment, nonEmptyText, text, type Fields } from "./parse";
import { parseStale, type Stale } from "./protocol";

/** Figures that an edge, or one relation of it, may have. `null` is not known. */
export interface Figures {
  /** Connections open now. */
  open: number | null;
  /** Bytes per second from source to target. */
  sent: number | null;
  /** Bytes per second the other way. */
  received: number | null;
  /** Whether both ends tell of it; of an edge, of one of its relations. */
  confirmed: boolean;
  /** Not seen any more: it goes unless it is seen again. */
  fading: boolean;
  /** Since when no host that tells of it is heard of; `null` while one is. */
  stale: Stale | null;
}

/** Figures of the edges of a map, by {@link edgeKey}. */
export type EdgeFigures = ReadonlyMap<string, Figures>;

export const NO_FIGURES: EdgeFigures = new Map();

/** Figures with what takes longer to tell. */
export interface FullFigures extends Figures {
  /** Connections opened since it was first seen. */
  opened: number | null;
  rttMicros: number | null;
  retransmits: number | null;
  /** Milliseconds since the Unix epoch, by the peer's clock. */
  firstSeenMs: number | null;
  lastSeenMs: number | null;
  /** How it was seen: names of sources. */
  seenBy: string[];
}

/** An end of an edge: a node of its topology. */
export interface EdgeEnd {
  id: string;
  label: string;
  labelMinor: string;
}

/** An end of a relation, which is finer than the edge. */
export interface Party {
  label: string;
  host: string;
  /** Its node, where it has one. */
  node: { topologyId: string; id: string } | null;
}

/** Connections of one client to one port of one server. */
export interface Relation extends FullFigures {
  protocol: string;
  port: number;
  client: Party;
  server: Party;
  /** The server's as the client's host has it; if only the server tells, the client's. */
  address: string;
  /** What the client dialled instead, before translation. */
  via: string;
  /** What the server sees the client as, after translation. */
  masquerade: string;
  /** DNS name of the address. */
  name: string;
  /** Hosts that tell of it. */
  toldBy: string[];
}

export interface EdgeDetail extends FullFigures {
  source: EdgeEnd;
  target: EdgeEnd;
  relations: Relation[];
  /** Relations left out, by the peer or because there are more than {@link RELATIONS_MAX}. */
  overflow: number;
}

/** Edges whose figures are held: twice what the map is drawn for at full frame rate, and more. */
export const EDGES_MAX = 100_000;

/** Relations of one edge held and listed. */
export const RELATIONS_MAX = 1000;

function figures(f: Fields): Figures {
  return {
    open: known(f["open"]),
    sent: known(f["sent"]),
    received: known(f["received"]),
    // A peer that does not say is not taken to doubt it.
    confirmed: f["confirmed"] !== false,
    fading: f["fading"] === true,
    stale: parseStale(f["stale"]),
  };
}

function fullFigures(f: Fields): FullFigures {
  return {
    ...figures(f),
    opened: known(f["opened"]),
    rttMicros: known(f["rttMicros"]),
    retransmits: known(f["retransmits"]),
    firstSeenMs: moment(f["firstSeen"]),
    lastSeenMs: moment(f["lastSeen"]),
    seenBy: list(f["seenBy"], nonEmptyText),
  };
}

/** `GET api/topology/{t}/edges`, or `null` if it holds no list. */
export function parseEdges(raw: unknown): EdgeFigures | null {
  const entries = fields(raw)?.["edges"];
  if (!Array.isArray(entries)) return null;
  const found = new Map<string, Figures>();
  for (const entry of entries.slice(0, EDGES_MAX)) {
    const f = fields(entry);
    const [source, target] = [text(f?.["source"]), text(f?.["target"])];
    if (f && source !== "" && target !== "") found.set(edgeKey(source, target), figures(f));
  }
  return found;
}

function parseEnd(raw: unknown): EdgeEnd | null {
  const f = fields(raw);
  const id = text(f?.["id"]);
  return f && id !== "" ? { id, label: text(f["label"]) || id, labelMinor: text(f["labelMinor"]) } : null;
}

function parseParty(raw: unknown): Party {
  const f = fields(raw) ?? {};
  const [id, topologyId] = [text(f["node"]), text(f["topology"])];
  return {
    label: text(f["label"]) || id || "?",
    host: text(f["host"]),
    node: id !== "" && topologyId !== "" ? { topologyId, id } : null,
  };
}

function parseRelation(raw: unknown): Relation | null {
  const f = fields(raw);
  return (
    f && {
      ...fullFigures(f),
      protocol: text(f["protocol"]) || "tcp",
      port: count(f["port"]),
      client: parseParty(f["client"]),
      server: parseParty(f["server"]),
      address: text(f["address"]),
      via: text(f["via"]),
      masquerade: text(f["masquerade"]),
      name: text(f["name"]),
      toldBy: list(f["toldBy"], nonEmptyText),
    }
  );
}

/** `GET api/edge/{source}/{target}`, or `null` if it holds no edge. */
export function parseEdge(raw: unknown): EdgeDetail | null {
  const f = fields(raw);
  const source = parseEnd(f?.["source"]);
  const target = parseEnd(f?.["target"]);
  if (!f || !source || !target) return null;
  const relations = list(f["relations"], parseRelation);
  return {
    ...fullFigures(f),
    source,
    target,
    relations: relations.slice(0, RELATIONS_MAX),
    overflow: count(f["more"]) + Math.max(0, relations.length - RELATIONS_MAX),
  };
}

/** Bytes per second both ways together; `null` where neither is known. */
export function traffic({ sent, received }: Pick<Figures, "sent" | "received">): number | null {
  return sent === null && received === null ? null : (sent ?? 0) + (received ?? 0);
}
