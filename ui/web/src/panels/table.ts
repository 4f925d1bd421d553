/** What the tables of the details panel have in common: cells by column, and sorting by what a cell means. */
import { formatMetric, formatValue } from "../model/format";
import type { Column, Connection, NodeSummary } from "../model/protocol";

export interface Cell {
  text: string;
  title: string;
  /** What the column is sorted by. */
  sort: number | string;
  numeric: boolean;
}

export interface Sort {
  columnId: string;
  descending: boolean;
}

const EMPTY: Cell = { text: "", title: "", sort: "", numeric: false };

/** The id under which the name is sorted by: one that no column has, whose ids are not empty. */
export const NAME = "";

/** A node's value in a column: a metric or a metadata row of that id. */
export function nodeCell(node: NodeSummary, column: Column, nowMs: number): Cell {
  const metric = node.metrics.find((entry) => entry.id === column.id);
  if (metric) {
    const text = metric.valueEmpty ? "" : formatMetric(metric.format, metric.value);
    return { text, title: text, sort: metric.valueEmpty ? -Infinity : metric.value, numeric: true };
  }
  const row = node.metadata.find((entry) => entry.id === column.id);
  return row ? textCell(row.value, column.dataType || row.dataType, nowMs) : EMPTY;
}

/** A connection's value in a column. */
export function connectionCell(connection: Connection, column: Column, nowMs: number): Cell {
  const value = connection.values[column.id];
  return value === undefined ? EMPTY : textCell(value, column.dataType, nowMs);
}

function textCell(value: string, dataType: string, nowMs: number): Cell {
  const { text, title } = formatValue(dataType, value, nowMs);
  const number = value.trim() === "" ? NaN : Number(value);
  const instant = dataType === "datetime" ? Date.parse(value) : NaN;
  const sort = Number.isFinite(instant) ? instant : Number.isFinite(number) ? number : value.toLowerCase();
  return { text, title, sort, numeric: dataType === "number" || Number.isFinite(number) };
}

/** How a table is sorted before the user says otherwise: the declared column (numbers largest first), else the name. */
export function defaultSort(columns: readonly Column[]): Sort {
  const column = columns.find((entry) => entry.defaultSort);
  return column
    ? { columnId: column.id, descending: column.dataType === "number" }
    : { columnId: NAME, descending: false };
}

/** The next state after a click on a column's head. */
export function clickSort(sort: Sort, column: { id: string; numeric: boolean }): Sort {
  if (sort.columnId === column.id) return { ...sort, descending: !sort.descending };
  return { columnId: column.id, descending: column.numeric };
}

/** Rows in order. Equal ones keep the order they came in; numbers come before texts. */
export function sortRows<T>(rows: readonly T[], key: (row: T) => number | string, descending: boolean): T[] {
  const sorted = rows.map((row, i) => ({ row, i, key: key(row) }));
  sorted.sort((a, b) => compare(a.key, b.key) * (descending ? -1 : 1) || a.i - b.i);
  return sorted.map(({ row }) => row);
}

function compare(a: number | string, b: number | string): number {
  if (typeof a === "number" && typeof b === "number") return a === b ? 0 : a < b ? -1 : 1;
  if (typeof a === "string" && typeof b === "string") return a.localeCompare(b);
  return typeof a === "number" ? -1 : 1;
}
