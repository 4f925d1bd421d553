/** Where the map's facts come from, and what is wrong there. */
import type { Probe, Source } from "./protocol";

export interface Problem {
  probe: Probe;
  source: Source;
}

/** Whether a source was switched off by choice: nothing is wrong with it. */
export function isDisabled(source: Source): boolean {
  return source.state === "off" && source.mode === "disabled";
}

/** Sources that do not give all they should: those that give nothing first. */
export function problemsOf(probes: readonly Probe[]): Problem[] {
  const problems = sources(probes).filter(({ source }) => source.state !== "ok" && !isDisabled(source));
  return problems.sort((a, b) => Number(a.source.state !== "off") - Number(b.source.state !== "off"));
}

/** Problems that are the same on several hosts as one, with all their names; in the order of the first of each. */
export function alike(problems: readonly Problem[]): { source: Source; hosts: string[] }[] {
  const groups = new Map<string, { source: Source; hosts: string[] }>();
  for (const { probe, source } of problems) {
    const key = [source.name, source.state, source.reason].join("\n");
    const group = groups.get(key);
    if (group) group.hosts.push(probe.hostname);
    else groups.set(key, { source, hosts: [probe.hostname] });
  }
  return [...groups.values()];
}

/** Sources that were switched off by choice. */
export function disabledOf(probes: readonly Probe[]): Problem[] {
  return sources(probes).filter(({ source }) => isDisabled(source));
}

function sources(probes: readonly Probe[]): Problem[] {
  return probes.flatMap((probe) => probe.sources.map((source) => ({ probe, source })));
}
