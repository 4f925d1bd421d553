/**
 * What a peer sends, and nothing else: types, and parsers that check each message on arrival.
 *
 * A parser never throws. Unknown fields are ignored, missing or `null` lists are empty, and an entry that lacks what
 * identifies it is left out: a newer or older peer must not take the page down.
 */
import { parseLives, type Lives } from "./mesh";
import { count, fields, identified, list, nonEmptyText, number, text } from "./parse";

export interface MetadataRow {
  id: string;
  label: string;
  value: string;
  /** Rows from {@link MORE_PRIORITY} on are shown on demand only. */
  priority: number;
  dataType: string;
  /** Longest useful length of the value in characters; 0 is no limit. */
  truncate: number;
}

export interface Parent {
  id: string;
  label: string;
  topologyId: string;
}

export interface Sample {
  /** Milliseconds since the Unix epoch. */
  atMs: number;
  value: number;
}

export interface Metric {
  id: string;
  label: string;
  format: string;
  group: string;
  value: number;
  valueEmpty: boolean;
  priority: number;
  min: number;
  /** The most the value can be (100 for percentages, all memory for memory); 0 when nobody knows. */
  max: number;
  samples: Sample[];
}

export interface Column {
  id: string;
  label: string;
  dataType: string;
  defaultSort: boolean;
}

export interface PropertyTable {
  id: string;
  label: string;
  type: string;
  columns: Column[];
  rows: { id: string; entries: Record<string, string> }[];
  /** Rows the peer left out. */
  truncationCount: number;
}

/** Of what no live host speaks of. */
export interface Stale {
  state: "suspect" | "gone";
  /** When a host that knows of it was last heard of, by the peer's clock. */
  sinceMs: number;
}

export interface NodeSummary {
  id: string;
  label: string;
  labelMinor: string;
  /** What the node counts as alike with: its image, its program. Drives colour and order. */
  rank: string;
  shape: string;
  /** What a known service outside is drawn with, such as `database`; empty for all else. */
  icon: string;
  tag: string;
  stack: boolean;
  /** Stands for something outside the topology, such as the Internet. */
  pseudo: boolean;
  stale: Stale | null;
  metadata: MetadataRow[];
  parents: Parent[];
  metrics: Metric[];
  tables: PropertyTable[];
  /** Ids of the nodes this one connects to. */
  adjacency: string[];
}

export interface ChildGroup {
  topologyId: string;
  label: string;
  columns: Column[];
  nodes: NodeSummary[];
}

export interface Connection {
  id: string;
  nodeId: string;
  label: string;
  labelMinor: string;
  values: Record<string, string>;
}

export interface ConnectionGroup {
  id: string;
  topologyId: string;
  label: string;
  columns: Column[];
  connections: Connection[];
  /** Rows the peer left out. */
  more: number;
}

export interface NodeDetail extends NodeSummary {
  children: ChildGroup[];
  connections: ConnectionGroup[];
}

export interface Diff {
  /** `add` is the whole topology. */
  reset: boolean;
  add: NodeSummary[];
  update: NodeSummary[];
  remove: string[];
}

export interface OptionGroup {
  id: string;
  defaultValue: string;
  /** Any number of values may be chosen, written as a comma list. */
  union: boolean;
  noneLabel: string;
  choices: { value: string; label: string }[];
}

export interface Topology {
  id: string;
  name: string;
  rank: number;
  hideIfEmpty: boolean;
  options: OptionGroup[];
  subTopologies: Topology[];
  nodeCount: number;
  edgeCount: number;
  filteredCount: number;
}

/** The peer that answers. */
export interface Peer {
  id: string;
  version: string;
  hostname: string;
  /** Its clock, when it answered; `NaN` if it does not say. */
  timeMs: number;
  lives: Lives;
  /** Whether anybody may join its mesh. */
  openMesh: boolean;
  meshProblems: number;
}

export type SourceState = "ok" | "degraded" | "off";

export interface Source {
  name: string;
  state: SourceState;
  mode: string;
  reason: string;
  /** Share of one core. */
  cpuPercent: number;
  /** What it has missed since it started: events, messages or connections. */
  lost: number;
}

export interface Probe {
  id: string;
  hostname: string;
  version: string;
  sources: Source[];
}

/** Rows of this priority and above are hidden until asked for. */
export const MORE_PRIORITY = 10;

function texts(raw: unknown): Record<string, string> {
  return Object.fromEntries(Object.entries(fields(raw) ?? {}).map(([key, value]) => [key, text(value)]));
}

const parseMetadata = identified("id", (f, id): MetadataRow => ({
  id,
  label: text(f["label"]) || id,
  value: text(f["value"]),
  priority: number(f["priority"]),
  dataType: text(f["dataType"]),
  truncate: number(f["truncate"]),
}));

const parseParent = identified("id", (f, id): Parent => ({
  id,
  label: text(f["label"]) || id,
  topologyId: text(f["topologyId"]),
}));

function parseSample(raw: unknown): Sample | null {
  const f = fields(raw);
  const atMs = Date.parse(text(f?.["date"]));
  return f && Number.isFinite(atMs) ? { atMs, value: number(f["value"]) } : null;
}

const parseMetric = identified("id", (f, id): Metric => ({
  id,
  label: text(f["label"]) || id,
  format: text(f["format"]),
  group: text(f["group"]),
  value: number(f["value"]),
  valueEmpty: f["valueEmpty"] === true,
  priority: number(f["priority"]),
  min: number(f["min"]),
  max: number(f["max"]),
  samples: list(f["samples"], parseSample),
}));

const parseColumn = identified("id", (f, id): Column => ({
  id,
  label: text(f["label"]) || id,
  dataType: text(f["dataType"]),
  defaultSort: f["defaultSort"] === true,
}));

const parseTable = identified("id", (f, id): PropertyTable => ({
  id,
  label: text(f["label"]) || id,
  type: text(f["type"]),
  columns: list(f["columns"], parseColumn),
  rows: list(
    f["rows"],
    identified("id", (row, rowId) => ({ id: rowId, entries: texts(row["entries"]) })),
  ),
  truncationCount: number(f["truncationCount"]),
}));

export function parseStale(raw: unknown): Stale | null {
  const f = fields(raw);
  if (!f) return null;
  return { state: f["state"] === "gone" ? "gone" : "suspect", sinceMs: Date.parse(text(f["since"])) || 0 };
}

/** One node of a topology, or `null` if it has no id. */
export const parseNode = identified("id", (f, id): NodeSummary => ({
  id,
  label: text(f["label"]) || id,
  labelMinor: text(f["labelMinor"]),
  rank: text(f["rank"]),
  shape: text(f["shape"]),
  icon: text(f["icon"]),
  tag: text(f["tag"]),
  stack: f["stack"] === true,
  pseudo: f["pseudo"] === true,
  stale: parseStale(f["stale"]),
  metadata: list(f["metadata"], parseMetadata),
  parents: list(f["parents"], parseParent),
  metrics: list(f["metrics"], parseMetric),
  tables: list(f["tables"], parseTable),
  adjacency: list(f["adjacency"], nonEmptyText),
}));

const parseChildren = identified("topologyId", (f, topologyId): ChildGroup => ({
  topologyId,
  label: text(f["label"]) || topologyId,
  columns: list(f["columns"], parseColumn),
  nodes: list(f["nodes"], parseNode),
}));

/** A connection's values come as a list of `{id, value}`; the table wants them by column. */
const parseConnection = identified("id", (f, id): Connection => ({
  id,
  nodeId: text(f["nodeId"]),
  label: text(f["label"]),
  labelMinor: text(f["labelMinor"]),
  values: Object.fromEntries(
    list(
      f["metadata"],
      identified("id", (m, key): [string, string] => [key, text(m["value"])]),
    ),
  ),
}));

const parseConnections = identified("id", (f, id): ConnectionGroup => ({
  id,
  topologyId: text(f["topologyId"]),
  label: text(f["label"]) || id,
  columns: list(f["columns"], parseColumn),
  connections: list(f["connections"], parseConnection),
  more: count(f["more"]),
}));

/** `GET api/topology/{t}/{id}`, or `null` if it holds no node. */
export function parseDetail(raw: unknown): NodeDetail | null {
  const f = fields(fields(raw)?.["node"]);
  const node = parseNode(f);
  if (!f || !node) return null;
  return {
    ...node,
    children: list(f["children"], parseChildren),
    connections: list(f["connections"], parseConnections),
  };
}

/** One message of a topology's WebSocket, or `null` if it is no diff. */
export function parseDiff(raw: unknown): Diff | null {
  const f = fields(raw);
  if (!f) return null;
  return {
    reset: f["reset"] === true,
    add: list(f["add"], parseNode),
    update: list(f["update"], parseNode),
    remove: list(f["remove"], nonEmptyText),
  };
}

const parseOption = identified("id", (f, id): OptionGroup => ({
  id,
  defaultValue: text(f["defaultValue"]),
  union: f["selectType"] === "union",
  noneLabel: text(f["noneLabel"]),
  choices: list(
    f["options"],
    identified("value", (c, value) => ({ value, label: text(c["label"]) || value })),
  ),
}));

function parseTopology(raw: unknown): Topology | null {
  const f = fields(raw);
  const id = text(f?.["url"]).split("/").pop() ?? "";
  if (!f || id === "") return null;
  const stats = fields(f["stats"]) ?? {};
  return {
    id,
    name: text(f["name"]) || id,
    rank: number(f["rank"]),
    hideIfEmpty: f["hide_if_empty"] === true,
    options: list(f["options"], parseOption),
    // One level, as the bar shows: a description that nests for ever is cut here.
    subTopologies: list(f["sub_topologies"], (sub) => parseTopology({ ...fields(sub), sub_topologies: [] })),
    nodeCount: number(stats["node_count"]),
    edgeCount: number(stats["edge_count"]),
    filteredCount: number(stats["filtered_nodes"]),
  };
}

/** `GET api/topology`, in the order of the bar. */
export function parseTopologies(raw: unknown): Topology[] {
  return list(raw, parseTopology).sort((a, b) => a.rank - b.rank || a.name.localeCompare(b.name));
}

/** `GET api`, or `null` if it is no object. */
export function parsePeer(raw: unknown): Peer | null {
  const f = fields(raw);
  return (
    f && {
      id: text(f["id"]),
      version: text(f["version"]),
      hostname: text(f["hostname"]),
      timeMs: Date.parse(text(f["time"])),
      lives: parseLives(f["peers"]),
      openMesh: f["openMesh"] === true,
      meshProblems: number(f["meshProblems"]),
    }
  );
}

const parseSource = identified("name", (f, name): Source => ({
  name,
  state: f["state"] === "degraded" || f["state"] === "off" ? f["state"] : "ok",
  mode: text(f["mode"]),
  reason: text(f["reason"]),
  cpuPercent: number(f["cpuPercent"]),
  lost: count(f["lost"]),
}));

/** `GET api/probes`. */
export function parseProbes(raw: unknown): Probe[] {
  return list(
    raw,
    identified("id", (f, id): Probe => ({
      id,
      hostname: text(f["hostname"]) || id,
      version: text(f["version"]),
      sources: list(f["sources"], parseSource),
    })),
  );
}
