/**
 * What the user is looking at, as the page's hash: `#/containers?system=all&node=hosts~a%3B%3Chost%3E&q=redis`.
 * A link shows another person the same thing, and the browser's back button works.
 */

/** One node whose details are open. */
export interface NodeCard {
  topologyId: string;
  id: string;
}

/** One edge whose details are open, from client to server. */
export interface EdgeCard {
  topologyId: string;
  source: string;
  target: string;
}

export type Card = NodeCard | EdgeCard;

/** What the thickness of an edge on the map stands for. */
export type Lines = "plain" | "connections" | "traffic";

export const LINES: readonly Lines[] = ["plain", "connections", "traffic"];

/** What may be open below the map. */
export type Panel = "" | "peers";

export interface View {
  /** Empty until the user or the page has chosen one. */
  topologyId: string;
  /** Chosen options that differ from nothing: group id to value. Unknown groups are kept, the peer ignores them. */
  options: Readonly<Record<string, string>>;
  /** Open details, the last on top. */
  cards: readonly Card[];
  query: string;
  /** Id of the metric that fills the nodes, or empty. */
  metricId: string;
  lines: Lines;
  panel: Panel;
}

export const EMPTY_VIEW: View = {
  topologyId: "",
  options: {},
  cards: [],
  query: "",
  metricId: "",
  lines: "plain",
  panel: "",
};

/** More open cards than this and the oldest go: a link must stay a link. */
export const CARDS_MAX = 8;

/** Longer searches are cut. */
export const QUERY_CHARS_MAX = 200;

const NODE = "node";
const EDGE = "edge";
const QUERY = "q";
const METRIC = "metric";
const LINE = "lines";
const PANEL = "panel";
const RESERVED: ReadonlySet<string> = new Set([NODE, EDGE, QUERY, METRIC, LINE, PANEL]);

/** The view a hash stands for. Never fails: what is not understood is left out. */
export function parseHash(hash: string): View {
  const [path = "", search = ""] = splitOnce(hash.replace(/^#?\/?/, ""), "?");
  const params = new URLSearchParams(search);
  const options: Record<string, string> = {};
  const cards: Card[] = [];
  for (const [key, value] of params) {
    const card = key === NODE ? parseNodeCard(value) : key === EDGE ? parseEdgeCard(value) : null;
    if (card) cards.push(card);
    if (!RESERVED.has(key)) options[key] = value;
  }
  return {
    topologyId: decode(path),
    options,
    cards: cards.slice(-CARDS_MAX),
    query: (params.get(QUERY) ?? "").slice(0, QUERY_CHARS_MAX),
    metricId: params.get(METRIC) ?? "",
    lines: LINES.find((lines) => lines === params.get(LINE)) ?? "plain",
    panel: params.get(PANEL) === "peers" ? "peers" : "",
  };
}

/** The hash of a view. `parseHash(formatHash(view))` is `view` again. */
export function formatHash(view: View): string {
  const params = new URLSearchParams();
  for (const key of Object.keys(view.options).sort()) params.set(key, view.options[key] ?? "");
  for (const card of view.cards.slice(-CARDS_MAX)) {
    if ("id" in card) params.append(NODE, `${card.topologyId}~${card.id}`);
    else params.append(EDGE, [card.topologyId, card.source, card.target].map(escape).join("~"));
  }
  if (view.metricId !== "") params.set(METRIC, view.metricId);
  if (view.lines !== "plain") params.set(LINE, view.lines);
  if (view.query !== "") params.set(QUERY, view.query);
  if (view.panel !== "") params.set(PANEL, view.panel);
  const search = params.toString();
  return `#/${encodeURIComponent(view.topologyId)}${search === "" ? "" : `?${search}`}`;
}

/** The view with one more card on top. A card that is open already comes to the top instead. */
export function openCard(view: View, card: Card): View {
  const others = view.cards.filter((open) => !sameCard(open, card));
  return { ...view, cards: [...others, card].slice(-CARDS_MAX) };
}

/** The card on top, if any is open. */
export function topCard(view: View): Card | undefined {
  return view.cards.at(-1);
}

export function sameCard(a: Card | undefined, b: Card | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && cardKey(a) === cardKey(b));
}

/** Tells cards apart. No id holds a NUL. */
export function cardKey(card: Card): string {
  const ids = "id" in card ? [card.id] : [card.source, card.target];
  return [card.topologyId, ...ids].join("\u0000");
}

function parseNodeCard(raw: string): NodeCard | null {
  const [topologyId, id] = splitOnce(raw, "~");
  return topologyId && id ? { topologyId, id } : null;
}

function parseEdgeCard(raw: string): EdgeCard | null {
  const [topologyId, source, target, more] = raw.split("~").map(decode);
  return topologyId && source && target && more === undefined ? { topologyId, source, target } : null;
}

/** An id may hold what parts two ids. */
function escape(id: string): string {
  return id.replace(/[%~]/g, (char) => (char === "%" ? "%25" : "%7E"));
}

function splitOnce(whole: string, separator: string): [string, string] {
  const at = whole.indexOf(separator);
  return at < 0 ? [whole, ""] : [whole.slice(0, at), whole.slice(at + 1)];
}

function decode(raw: string): string {
  try {
    return decodeURIComponent(raw);
  } catch {
    return "";
  }
}
