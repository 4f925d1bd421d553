/** Values as people read them. Numbers, dates and plurals by `Intl`; units are short and the same everywhere. */

const LOCALE = "en";
const KIB = 1024;
const BYTE_UNITS = ["B", "KB", "MB", "GB", "TB", "PB"] as const;

const DATE = new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium", timeStyle: "medium" });
const INTEGER = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });

/** A number with at most three significant figures after the point dropped as it grows: 0.12, 1.23, 12.3, 123. */
export function formatNumber(value: number): string {
  const magnitude = Math.abs(value);
  if (magnitude >= 100 || Number.isInteger(value)) return INTEGER.format(value);
  return trimZeros(value.toFixed(magnitude >= 10 ? 1 : 2));
}

/** Bytes in powers of 1024, as Docker and the kernel count them. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= KIB && unit < BYTE_UNITS.length - 1) {
    value /= KIB;
    unit += 1;
  }
  return `${formatNumber(value)} ${BYTE_UNITS[unit] ?? "B"}`;
}

/** Bytes per second. */
export function formatRate(bytesPerSecond: number): string {
  return `${formatBytes(bytesPerSecond)}/s`;
}

export function formatMicros(micros: number): string {
  return `${formatNumber(micros / 1000)} ms`;
}

export function formatPercent(value: number): string {
  return `${formatNumber(value)} %`;
}

/** A length of time in its two largest units: `3d 4h`, `2m 5s`, `0s`. */
export function formatDuration(seconds: number): string {
  let rest = Math.max(0, Math.floor(seconds));
  const parts: string[] = [];
  for (const [unit, length] of [
    ["d", 86_400],
    ["h", 3600],
    ["m", 60],
    ["s", 1],
  ] as const) {
    const count = Math.floor(rest / length);
    rest -= count * length;
    if (count > 0) parts.push(`${count}${unit}`);
  }
  return parts.slice(0, 2).join(" ") || "0s";
}

/** A length of time in its largest unit, spelled so that it is not taken for a size: `12 s`, `3 min`, `5 h`, `2 d`. */
export function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 86_400 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} d`;
}

/** How long ago `atMs` was at `nowMs`. A moment in the future counts as now: clocks of two machines differ. */
export function formatAgo(atMs: number, nowMs: number): string {
  const seconds = Math.max(0, Math.round((nowMs - atMs) / 1000));
  return seconds < 2 ? "just now" : `${formatDuration(seconds).split(" ")[0] ?? ""} ago`;
}

/** A metric's value by its declared format. */
export function formatMetric(format: string, value: number): string {
  switch (format) {
    case "percent":
      return formatPercent(value);
    case "filesize":
      return formatBytes(value);
    case "integer":
      return INTEGER.format(value);
    case "duration":
      return formatDuration(value);
    default:
      return formatNumber(value);
  }
}

/** A short form that fits inside a node: `4 %`, `12M`. */
export function formatMetricShort(format: string, value: number): string {
  if (format === "percent")
    return `${Math.abs(value) < 10 ? trimZeros(value.toFixed(1)) : Math.round(value)}%`;
  if (format === "filesize")
    return formatBytes(value).replace(" ", "").replace(/\.\d+/, "").replace(/(.)B$/, "$1");
  return formatNumber(value);
}

export interface Formatted {
  text: string;
  /** The exact value, where `text` is a rounded or relative one. */
  title: string;
}

/** A metadata or table value by its declared type. `nowMs` is for ages. What does not parse is shown as it came. */
export function formatValue(dataType: string, value: string, nowMs: number): Formatted {
  const number = Number(value);
  switch (dataType) {
    case "datetime": {
      const atMs = Date.parse(value);
      return Number.isFinite(atMs)
        ? { text: formatAgo(atMs, nowMs), title: DATE.format(atMs) }
        : { text: value, title: value };
    }
    case "duration":
      return isNumber(value)
        ? { text: formatDuration(number), title: `${value} s` }
        : { text: value, title: value };
    case "filesize":
      return isNumber(value)
        ? { text: formatBytes(number), title: `${value} B` }
        : { text: value, title: value };
    case "percent":
      return isNumber(value) ? { text: formatPercent(number), title: value } : { text: value, title: value };
    default:
      return { text: value, title: value };
  }
}

/** The start of a text that is longer than `max` characters, with an ellipsis. `max` 0 is no limit. */
export function truncate(text: string, max: number): string {
  return max > 0 && text.length > max ? `${text.slice(0, Math.max(1, max - 1))}…` : text;
}

/** `1 node`, `2 nodes`. */
export function count(value: number, one: string, many: string): string {
  return `${INTEGER.format(value)} ${value === 1 ? one : many}`;
}

function isNumber(value: string): boolean {
  return value.trim() !== "" && Number.isFinite(Number(value));
}

function trimZeros(decimal: string): string {
  return decimal.includes(".") ? decimal.replace(/\.?0+$/, "") : decimal;
}
