/**
 * The search box's language, and which nodes a search finds.
 *
 * ```text
 * redis                 text in the name, metadata, parents or labels; a regular expression if it looks like one
 * stale                 what is not heard of; also suspect and gone
 * "two words"           the words as they stand
 * image: nginx          text in one field only, by its label
 * cpu > 4%              a metric compared; k, m, g and t are powers of 1024; also < and =
 * web api               both;   web or api: either;   -web or not web: without
 * ```
 * Fields and metrics are named by their beginning: `image` is `Image name` as well. A colon makes a field only after a
 * name that some node has, so `10.0.0.1:80` and `nginx:1.27` are plain text.
 */
import type { NodeSummary } from "./protocol";

export type Query =
  | { type: "text"; pattern: RegExp }
  | { type: "field"; field: string; pattern: RegExp }
  | { type: "metric"; metric: string; op: "<" | ">" | "="; value: number }
  | { type: "not"; query: Query }
  | { type: "all"; queries: Query[] }
  | { type: "any"; queries: Query[] };

/** A label as it is typed: lower case, letters and digits only, so `Image ID` is `imageid`. */
export function slug(label: string): string {
  return label.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "");
}

/** Names that may stand before a colon: every field of these nodes. */
export function fieldNames(nodes: Iterable<NodeSummary>): Set<string> {
  const names = new Set(["name", "host", "parent"]);
  for (const node of nodes) {
    for (const row of node.metadata) names.add(slug(row.label));
    for (const table of node.tables) names.add(slug(table.label));
  }
  return names;
}

/** The query a text stands for; `null` for an empty one. Never fails: what is no operator is text. */
export function parseQuery(source: string, fieldsKnown: ReadonlySet<string>): Query | null {
  const alternatives: Query[] = [];
  let terms: Query[] = [];
  let negated = false;
  for (const token of tokens(source, fieldsKnown)) {
    if (token.type === "or") {
      if (terms.length > 0) alternatives.push(join("all", terms));
      terms = [];
    } else if (token.type === "not") {
      negated = !negated;
    } else if (token.type === "term") {
      terms.push(negated ? { type: "not", query: token.query } : token.query);
      negated = false;
    }
  }
  if (terms.length > 0) alternatives.push(join("all", terms));
  return alternatives.length === 0 ? null : join("any", alternatives);
}

export function matches(query: Query, node: NodeSummary): boolean {
  switch (query.type) {
    case "text":
      return texts(node).some((text) => query.pattern.test(text));
    case "field":
      return fieldTexts(node, query.field).some((text) => query.pattern.test(text));
    case "metric":
      return node.metrics.some(
        (metric) =>
          !metric.valueEmpty && slug(metric.label).startsWith(query.metric) && compare(metric.value, query),
      );
    case "not":
      return !matches(query.query, node);
    case "all":
      return query.queries.every((part) => matches(part, node));
    case "any":
      return query.queries.some((part) => matches(part, node));
    default:
      return query satisfies never;
  }
}

/** Ids of the nodes a search finds; `null` when there is nothing to search for. */
export function search(nodes: ReadonlyMap<string, NodeSummary>, source: string): Set<string> | null {
  if (source.trim() === "") return null;
  const query = parseQuery(source, source.includes(":") ? fieldNames(nodes.values()) : new Set());
  if (!query) return null;
  const found = new Set<string>();
  for (const node of nodes.values()) if (matches(query, node)) found.add(node.id);
  return found;
}

/** `4%`, `10mb`, `1.5g`: a number with an optional unit; `null` if it is none. */
export function parseQuantity(source: string): number | null {
  const match = /^(-?\d+(?:\.\d+)?)\s*(?:([kmgt])i?b?|b|%|s)?$/i.exec(source);
  if (!match) return null;
  const power = "kmgt".indexOf((match[2] ?? "").toLowerCase() || "-") + 1;
  return Number(match[1]) * 1024 ** power;
}

type Token = { type: "and" } | { type: "or" } | { type: "not" } | { type: "term"; query: Query };

const COMPARISON = /^([\p{L}][\p{L}\p{N}_]*)\s*([<>=])\s*(-?\d+(?:\.\d+)?\s?[kmgt]?i?b?%?)(?=\s|$)/iu;
const FIELD = /^([\p{L}][\p{L}\p{N}_.-]*)\s*:\s*("[^"]*"?|\S+)/u;
const WORD = /^("[^"]*"?|\S+)/;

function* tokens(source: string, fieldsKnown: ReadonlySet<string>): Generator<Token> {
  let rest = source.trim();
  while (rest !== "") {
    const [token, length] = nextToken(rest, fieldsKnown);
    yield token;
    rest = rest.slice(length).trimStart();
  }
}

function nextToken(rest: string, fieldsKnown: ReadonlySet<string>): [Token, number] {
  if (/^-["\p{L}\p{N}]/u.test(rest)) return [{ type: "not" }, 1];
  const comparison = COMPARISON.exec(rest);
  const value = comparison ? parseQuantity(comparison[3]?.trim() ?? "") : null;
  if (comparison && value !== null) {
    const op = comparison[2] === "<" ? "<" : comparison[2] === ">" ? ">" : "=";
    return [term({ type: "metric", metric: slug(comparison[1] ?? ""), op, value }), comparison[0].length];
  }
  const field = FIELD.exec(rest);
  const name = slug(field?.[1] ?? "");
  if (field && name.length > 1 && [...fieldsKnown].some((known) => known.startsWith(name))) {
    return [term({ type: "field", field: name, pattern: pattern(field[2] ?? "") }), field[0].length];
  }
  const word = WORD.exec(rest)?.[0] ?? rest;
  const operator = /^(and|or|not)$/i.test(word) ? (word.toLowerCase() as "and" | "or" | "not") : null;
  return [operator ? { type: operator } : term({ type: "text", pattern: pattern(word) }), word.length];
}

function term(query: Query): Token {
  return { type: "term", query };
}

/** Case-insensitive; quotes and an invalid expression mean the characters as they stand. A dot is a dot. */
function pattern(word: string): RegExp {
  const quoted = word.startsWith('"');
  const bare = quoted ? word.replace(/^"|"$/g, "") : word;
  if (!quoted && /[*+?^$()[\]{}|\\]/.test(bare)) {
    try {
      return new RegExp(bare, "i");
    } catch {
      // An unfinished expression, while typing.
    }
  }
  return new RegExp(bare.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i");
}

function join(type: "all" | "any", queries: Query[]): Query {
  const [only] = queries;
  return queries.length === 1 && only ? only : { type, queries };
}

function compare(value: number, query: { op: "<" | ">" | "="; value: number }): boolean {
  if (query.op === "<") return value < query.value;
  return query.op === ">" ? value > query.value : value === query.value;
}

function texts(node: NodeSummary): string[] {
  return [
    node.label,
    node.labelMinor,
    ...(node.stale ? ["stale", node.stale.state] : []),
    ...node.metadata.map((row) => row.value),
    ...node.parents.map((parent) => parent.label),
    ...node.tables.flatMap((table) => table.rows.flatMap((row) => Object.values(row.entries))),
  ];
}

function fieldTexts(node: NodeSummary, field: string): string[] {
  const found: string[] = [];
  const named = (name: string): boolean => name.startsWith(field);
  if (named("name")) found.push(node.label, node.labelMinor);
  if (named("host")) found.push(node.labelMinor);
  for (const parent of node.parents) {
    if (named("parent") || (named("host") && parent.topologyId === "hosts")) found.push(parent.label);
  }
  for (const row of node.metadata) if (named(slug(row.label))) found.push(row.value);
  for (const table of node.tables) {
    if (named(slug(table.label))) found.push(...table.rows.flatMap((row) => Object.values(row.entries)));
  }
  return found;
}
