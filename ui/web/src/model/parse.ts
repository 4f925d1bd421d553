/** Reading of JSON whose sender may be older, newer or mistaken: what is not as it should be becomes nothing, never an error. */

export type Fields = Record<string, unknown>;

export function fields(raw: unknown): Fields | null {
  return typeof raw === "object" && raw !== null && !Array.isArray(raw) ? (raw as Fields) : null;
}

export function text(raw: unknown): string {
  if (typeof raw === "string") return raw;
  return typeof raw === "number" || typeof raw === "boolean" ? String(raw) : "";
}

export function number(raw: unknown): number {
  const value = typeof raw === "string" && raw.trim() !== "" ? Number(raw) : raw;
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

export function list<T>(raw: unknown, parse: (entry: unknown) => T | null): T[] {
  if (!Array.isArray(raw)) return [];
  const parsed: T[] = [];
  for (const entry of raw) {
    const value = parse(entry);
    if (value !== null) parsed.push(value);
  }
  return parsed;
}

/** A quantity, or `null` where nobody knows it: none is told from nothing. */
export function known(raw: unknown): number | null {
  const value = typeof raw === "string" && raw.trim() !== "" ? Number(raw) : raw;
  return typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : null;
}

/** A moment in milliseconds since the Unix epoch, or `null`. */
export function moment(raw: unknown): number | null {
  const atMs = Date.parse(text(raw));
  return Number.isFinite(atMs) ? atMs : null;
}

/** A whole number of things. */
export function count(raw: unknown): number {
  return Math.max(0, Math.trunc(number(raw)));
}

/** A parser of objects that have a non-empty `key`. */
export function identified<T>(key: string, build: (f: Fields, id: string) => T): (raw: unknown) => T | null {
  return (raw) => {
    const f = fields(raw);
    const id = f ? text(f[key]) : "";
    return f && id !== "" ? build(f, id) : null;
  };
}

export const nonEmptyText = (raw: unknown): string | null => text(raw) || null;
