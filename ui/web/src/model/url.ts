/**
 * What the user is looking at, as the page's hash: `#/containers?system=all&node=hosts~a%3B%3Chost%3E&q=redis`.
 * A link shows another person the same thing, and the browser's back button works.
 */

/** One node whose details are open. */
export interface Card {
  topologyId: string;
  id: string;
}

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
  panel: Panel;
}

export const EMPTY_VIEW: View = {
  topologyId: "",
  options: {},
  cards: [],
  query: "",
  metricId: "",
  panel: "",
};

/** More open cards than this and the oldest go: a link must stay a link. */
export const CARDS_MAX = 8;

/** Longer searches are cut. */
export const QUERY_CHARS_MAX = 200;

const NODE = "node";
const QUERY = "q";
const METRIC = "metric";
const PANEL = "panel";
const RESERVED: ReadonlySet<string> = new Set([NODE, QUERY, METRIC, PANEL]);

/** The view a hash stands for. Never fails: what is not understood is left out. */
export function parseHash(hash: string): View {
  const [path = "", search = ""] = splitOnce(hash.replace(/^#?\/?/, ""), "?");
  const params = new URLSearchParams(search);
  const options: Record<string, string> = {};
  for (const [key, value] of params) {
    if (!RESERVED.has(key)) options[key] = value;
  }
  return {
    topologyId: decode(path),
    options,
    cards: params
      .getAll(NODE)
      .map(parseCard)
      .filter((card) => card !== null)
      .slice(-CARDS_MAX),
    query: (params.get(QUERY) ?? "").slice(0, QUERY_CHARS_MAX),
    metricId: params.get(METRIC) ?? "",
    panel: params.get(PANEL) === "peers" ? "peers" : "",
  };
}

/** The hash of a view. `parseHash(formatHash(view))` is `view` again. */
export function formatHash(view: View): string {
  const params = new URLSearchParams();
  for (const key of Object.keys(view.options).sort()) params.set(key, view.options[key] ?? "");
  for (const card of view.cards.slice(-CARDS_MAX)) params.append(NODE, `${card.topologyId}~${card.id}`);
  if (view.metricId !== "") params.set(METRIC, view.metricId);
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
  return a?.id === b?.id && a?.topologyId === b?.topologyId;
}

function parseCard(raw: string): Card | null {
  const [topologyId, id] = splitOnce(raw, "~");
  return topologyId && id ? { topologyId, id } : null;
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
