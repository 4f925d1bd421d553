/** Ties the model to the peer and the browser: one place that dispatches, polls and keeps the URL. */
import { untrack } from "svelte";
import {
  detailUrl,
  edgeUrl,
  feedUrl,
  figuresUrl,
  get,
  pathUrl,
  poll,
  topologiesUrl,
  type Options,
} from "./net/api";
import { Feed } from "./net/socket";
import { parseEdge, parseEdges } from "./model/edges";
import { Graph } from "./model/graph";
import { parseMesh } from "./model/mesh";
import { levels, metricChoices } from "./model/metrics";
import {
  parseDetail,
  parseDiff,
  parsePeer,
  parseProbes,
  parseTopologies,
  type Topology,
} from "./model/protocol";
import { search } from "./model/search";
import { defaultTopology, flatten, INITIAL, reduce, type Action, type State } from "./model/state";
import {
  formatHash,
  LINES,
  openCard,
  parseHash,
  sameCard,
  topCard,
  type Card,
  type EdgeCard,
  type Lines,
  type View,
} from "./model/url";

const TOPOLOGIES_EVERY_MS = 5000;
const DETAILS_EVERY_MS = 2000;
const FIGURES_EVERY_MS = 5000;
/** How soon the bar says that a host is silent; the answer is some hundred bytes. */
const PEER_EVERY_MS = 2000;
const MESH_EVERY_MS = 2000;

export class Session {
  state = $state.raw<State>(INITIAL);
  readonly topologies = $derived(this.state.topologies);
  readonly topology = $derived(this.find(this.state.view.topologyId));
  /** The topology of the bar that the current one belongs to. */
  readonly family = $derived(
    this.topologies.find(
      (main) =>
        main.id === this.topology?.id || main.subTopologies.some((sub) => sub.id === this.topology?.id),
    ),
  );
  /** Name of the current topology; a sub-topology's makes sense only after its family's. */
  readonly title = $derived(
    [this.family?.name, this.topology === this.family ? "" : this.topology?.name].filter(Boolean).join(" "),
  );
  readonly nodes = $derived(this.state.nodes);
  private readonly structure = $derived(this.state.structure);
  /** Anew only when nodes or edges have changed; the labels in it do not matter. */
  readonly graph = $derived.by(() => {
    void this.structure;
    return new Graph(untrack(() => this.state.nodes));
  });
  readonly found = $derived(search(this.nodes, this.state.view.query));
  readonly metrics = $derived(metricChoices(this.nodes.values()));
  readonly levels = $derived(levels(this.nodes, this.state.view.metricId));
  readonly card = $derived(topCard(this.state.view));
  /** The open card, if it is of this map. */
  private readonly ownCard = $derived(
    this.card?.topologyId === this.state.view.topologyId ? this.card : undefined,
  );
  /** The open card's node, if it is one of this map. */
  readonly selected = $derived(this.ownCard && "id" in this.ownCard ? this.ownCard.id : null);
  /** The same for an edge. */
  readonly selectedEdge = $derived(this.ownCard && "source" in this.ownCard ? this.ownCard : null);
  readonly lines = $derived(this.state.view.lines);
  readonly figures = $derived(this.state.figures);
  readonly peersOpen = $derived(this.state.view.panel === "peers");
  private readonly feedKey = $derived(
    this.state.view.topologyId === ""
      ? ""
      : feedUrl(document.baseURI, this.state.view.topologyId, this.state.view.options),
  );
  private readonly figuresKey = $derived(
    this.state.view.topologyId === ""
      ? ""
      : figuresUrl(document.baseURI, this.state.view.topologyId, this.state.view.options),
  );
  /** A peer without figures of edges is not asked again until the page reaches it, or another one, anew. */
  private figuresMissing = false;
  private feed: Feed | null = null;
  /** Options of topologies visited, by id. */
  private remembered: Readonly<Record<string, Options>> = {};

  /** Starts to listen and poll. Call inside an effect root; returns how to stop. */
  start(): () => void {
    this.dispatch({ type: "view", view: parseHash(location.hash) });
    const stops = [
      poll(PEER_EVERY_MS, (signal) => this.askPeer(signal)),
      poll(TOPOLOGIES_EVERY_MS, (signal) => this.askTopologies(signal)),
      $effect.root(() => {
        $effect(() => {
          const url = this.feedKey;
          return untrack(() => this.listen(url));
        });
        $effect(() => {
          const url = this.figuresKey;
          return untrack(() => this.watchFigures(url));
        });
        $effect(() => {
          const { card } = this;
          return untrack(() => this.watchCard(card));
        });
        $effect(() => (this.peersOpen ? poll(MESH_EVERY_MS, (signal) => this.askMesh(signal)) : undefined));
      }),
    ];
    const onHash = (): void =>
      this.dispatch({ type: "view", view: this.withTopology(parseHash(location.hash)) });
    window.addEventListener("popstate", onHash);
    window.addEventListener("hashchange", onHash);
    return () => {
      window.removeEventListener("popstate", onHash);
      window.removeEventListener("hashchange", onHash);
      for (const stop of stops) stop();
    };
  }

  find(topologyId: string): Topology | undefined {
    return flatten(this.topologies).find((topology) => topology.id === topologyId);
  }

  /** Nodes of a topology: as on the map for the current one, as of the last poll for the others. */
  countOf(topology: Topology): number {
    return topology === this.topology && this.state.loaded ? this.nodes.size : topology.nodeCount;
  }

  retryNow(): void {
    this.feed?.retryNow();
  }

  openTopology(topologyId: string): void {
    const { view } = this.state;
    if (topologyId === view.topologyId) return;
    this.remembered = { ...this.remembered, [view.topologyId]: view.options };
    const related =
      this.family?.id === topologyId || this.family?.subTopologies.some((sub) => sub.id === topologyId);
    const options = related ? view.options : (this.remembered[topologyId] ?? {});
    this.navigate({ ...view, topologyId, options, cards: [] });
  }

  setOption(groupId: string, value: string): void {
    const { view } = this.state;
    this.navigate({ ...view, options: { ...view.options, [groupId]: value } });
  }

  /** Opens a node's details: on top of others, or, with `alone`, instead of them. */
  open(card: Card, alone = false): void {
    const { view } = this.state;
    this.navigate(openCard(alone ? { ...view, cards: [] } : view, card));
  }

  /** Switches to the open card's own topology and keeps the card. */
  showInTopology(card: Card): void {
    this.openTopology(card.topologyId);
    this.navigate(openCard({ ...this.state.view, cards: [] }, card), "replace");
  }

  closeTop(): void {
    const { view } = this.state;
    this.navigate({ ...view, cards: view.cards.slice(0, -1) });
  }

  closeAll(): void {
    if (this.state.view.cards.length > 0) this.navigate({ ...this.state.view, cards: [] });
  }

  setPeersOpen(open: boolean): void {
    this.navigate({ ...this.state.view, panel: open ? "peers" : "" });
  }

  setQuery(query: string): void {
    this.navigate({ ...this.state.view, query }, "replace");
  }

  setLines(lines: Lines): void {
    this.navigate({ ...this.state.view, lines }, "replace");
  }

  /** The next meaning of the lines' thickness. */
  turnLines(): void {
    this.setLines(LINES[(LINES.indexOf(this.lines) + 1) % LINES.length] ?? "plain");
  }

  setMetric(metricId: string): void {
    this.navigate({ ...this.state.view, metricId }, "replace");
  }

  private dispatch(action: Action): void {
    this.state = reduce(this.state, action);
  }

  private navigate(view: View, how: "push" | "replace" = "push"): void {
    const hash = formatHash(view);
    if (hash === formatHash(this.state.view)) return;
    if (how === "push") history.pushState(null, "", hash);
    else history.replaceState(null, "", hash);
    this.dispatch({ type: "view", view });
  }

  /** A view without a topology shows the one that has most to show. */
  private withTopology(view: View): View {
    const known = this.find(view.topologyId) !== undefined;
    return known || this.topologies.length === 0
      ? view
      : { ...view, topologyId: defaultTopology(this.topologies) };
  }

  private async askPeer(signal: AbortSignal): Promise<void> {
    const answer = await get(pathUrl(document.baseURI, "api"), signal);
    const peer = answer.type === "ok" ? parsePeer(answer.body) : null;
    if (peer) this.dispatch({ type: "peer", peer, atMs: Date.now() });
  }

  private async askMesh(signal: AbortSignal): Promise<void> {
    const answer = await get(pathUrl(document.baseURI, "api/peers"), signal);
    const mesh = answer.type === "ok" ? parseMesh(answer.body) : null;
    if (mesh) this.dispatch({ type: "mesh", mesh });
  }

  private async askTopologies(signal: AbortSignal): Promise<void> {
    const [topologies, probes] = await Promise.all([
      get(topologiesUrl(document.baseURI, this.state.view.options), signal),
      get(pathUrl(document.baseURI, "api/probes"), signal),
    ]);
    if (signal.aborted) return;
    if (topologies.type === "ok")
      this.dispatch({ type: "topologies", topologies: parseTopologies(topologies.body) });
    if (probes.type === "ok") this.dispatch({ type: "probes", probes: parseProbes(probes.body) });
    // A dead network leaves a WebSocket open for minutes; a failed request shows it at once.
    if (topologies.type === "unreachable") this.feed?.restart();
    else this.feed?.retryNow();
    const { view } = this.state;
    const settled = this.withTopology(view);
    if (settled !== view) this.navigate(settled, "replace");
  }

  private listen(url: string): (() => void) | undefined {
    if (url === "") return undefined;
    const { topologyId } = this.state.view;
    const feed = new Feed(url, {
      onUp: () => {
        this.figuresMissing = false;
        this.dispatch({ type: "linkUp" });
      },
      onLost: (retryAtMs) => this.dispatch({ type: "linkLost", retryAtMs }),
      onMessage: (message) => {
        const diff = parseDiff(message);
        if (diff) this.dispatch({ type: "diff", topologyId, diff });
      },
    });
    this.feed = feed;
    return () => feed.close();
  }

  private watchCard(card: Card | undefined): (() => void) | undefined {
    if (!card) return undefined;
    if ("source" in card) return this.watchEdge(card);
    return poll(DETAILS_EVERY_MS, async (signal) => {
      const { view } = this.state;
      const options = card.topologyId === view.topologyId ? view.options : {};
      const answer = await get(detailUrl(document.baseURI, card, options), signal);
      if (signal.aborted || !sameCard(card, topCard(this.state.view))) return;
      if (answer.type === "ok") this.dispatch({ type: "detail", card, node: parseDetail(answer.body) });
      if (answer.type === "missing") this.dispatch({ type: "detail", card, node: null });
    });
  }

  private watchEdge(card: EdgeCard): () => void {
    return poll(DETAILS_EVERY_MS, async (signal) => {
      const { view } = this.state;
      const options = card.topologyId === view.topologyId ? view.options : {};
      const answer = await get(edgeUrl(document.baseURI, card, options), signal);
      if (signal.aborted) return;
      if (answer.type === "ok") this.dispatch({ type: "edge", card, edge: parseEdge(answer.body) });
      if (answer.type === "missing") this.dispatch({ type: "edge", card, edge: null });
    });
  }

  private watchFigures(url: string): (() => void) | undefined {
    if (url === "") return undefined;
    const { topologyId } = this.state.view;
    let etag = "";
    this.figuresMissing = false;
    return poll(FIGURES_EVERY_MS, async (signal) => {
      if (this.figuresMissing) return;
      const answer = await get(url, signal, etag);
      if (signal.aborted) return;
      this.figuresMissing = answer.type === "missing";
      const figures = answer.type === "ok" ? parseEdges(answer.body) : null;
      if (answer.type !== "ok" || !figures) return;
      etag = answer.etag;
      this.dispatch({ type: "figures", topologyId, figures });
    });
  }
}
