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

/** Sources that were switched off by choice. */
export function disabledOf(probes: readonly Probe[]): Problem[] {
  return sources(probes).filter(({ source }) => isDisabled(source));
}

function sources(probes: readonly Probe[]): Problem[] {
  return probes.flatMap((probe) => probe.sources.map((source) => ({ probe, source })));
}
