/** Which metrics can fill the nodes of a map, and how full each node is. */
import type { Metric, NodeSummary } from "./protocol";

export interface MetricChoice {
  id: string;
  label: string;
}

/** Metrics that some node has a value of, most important first. */
export function metricChoices(nodes: Iterable<NodeSummary>): MetricChoice[] {
  const found = new Map<string, Metric>();
  for (const node of nodes) {
    for (const metric of node.metrics) {
      if (!metric.valueEmpty && !found.has(metric.id)) found.set(metric.id, metric);
    }
  }
  return [...found.values()]
    .sort((a, b) => a.priority - b.priority || a.label.localeCompare(b.label))
    .map(({ id, label }) => ({ id, label }));
}

export interface Level {
  /** 0 to 1. */
  level: number;
  value: number;
  format: string;
}

/**
 * How full each node is by one metric. A metric without a known maximum is measured against the largest on the map;
 * loads, which have no ceiling and differ by magnitudes, on a logarithmic scale.
 */
export function levels(nodes: ReadonlyMap<string, NodeSummary>, metricId: string): Map<string, Level> {
  const found = new Map<string, Metric>();
  let largest = 0;
  if (metricId === "") return new Map();
  for (const node of nodes.values()) {
    const metric = node.metrics.find((entry) => entry.id === metricId && !entry.valueEmpty);
    if (!metric) continue;
    found.set(node.id, metric);
    largest = Math.max(largest, metric.value);
  }
  const levelOf = new Map<string, Level>();
  for (const [id, metric] of found) {
    levelOf.set(id, { level: level(metric, largest), value: metric.value, format: metric.format });
  }
  return levelOf;
}

function level(metric: Metric, largest: number): number {
  const max = metric.format === "percent" ? metric.max || 100 : metric.max || largest;
  if (max <= 0) return 0;
  const share =
    metric.group === "load" || metric.id.startsWith("load")
      ? Math.log1p(metric.value) / Math.log1p(Math.max(largest, metric.value, 1))
      : metric.value / max;
  return Math.min(1, Math.max(0, share));
}
