/** Where the map's facts come from, and what is wrong there. */
import type { Probe, Source } from "./protocol";

export interface Problem {
  probe: Probe;
  source: Source;
}

/** Sources that do not give all they should: those that give nothing first. */
export function problemsOf(probes: readonly Probe[]): Problem[] {
  const problems = probes.flatMap((probe) =>
    probe.sources.filter((source) => source.state !== "ok").map((source) => ({ probe, source })),
  );
  return problems.sort((a, b) => Number(a.source.state !== "off") - Number(b.source.state !== "off"));
}
